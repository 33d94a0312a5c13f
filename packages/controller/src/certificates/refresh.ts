import type { BackoffSettings } from '@kmesh/api';

/** Validity in milliseconds since 1970. */
interface ValidityPeriod {
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * When a certificate is to be renewed: half-way through its life. A time in the past, and a certificate that is not
 * valid yet, mean now. Ambient contract 5.
 */
export function refreshAt(validity: ValidityPeriod, now: number): number {
  if (now < validity.notBefore) return now;
  return Math.max(now, validity.notBefore + (validity.notAfter - validity.notBefore) / 2);
}

/** Whether a certificate may still be presented. The start of its validity is the peer's to judge: clocks differ. */
export function isServable(validity: ValidityPeriod, now: number): boolean {
  return now < validity.notAfter;
}

/** About one second, doubling, at most 150 s, ± 20 %. Ambient contract 5. */
export const defaultBackoff: BackoffSettings = {
  firstMilliseconds: 1000,
  maximumMilliseconds: 150_000,
  jitter: 0.2,
};
