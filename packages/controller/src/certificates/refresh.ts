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

/** Whether a certificate's time has come and not passed. */
export function isValid(validity: ValidityPeriod, now: number): boolean {
  return validity.notBefore <= now && now < validity.notAfter;
}

/**
 * Chooses what to present among certificates of one identity, oldest first: the newest that is valid now, else the one
 * that becomes valid first. An authority whose clock is ahead issues only certificates of the future: taking the newest
 * of those would put off the moment for ever.
 *
 * @returns `current` to present now, and `next` to present in its place once that is valid
 */
export function chooseCertificate<Certificate extends ValidityPeriod>(
  candidates: readonly Certificate[],
  now: number,
): { readonly current: Certificate | undefined; readonly next: Certificate | undefined } {
  const alive = candidates.filter((candidate) => isServable(candidate, now));
  const valid = alive.filter((candidate) => isValid(candidate, now)).at(-1);
  const coming = alive
    .filter((candidate) => !isValid(candidate, now))
    .reduce<Certificate | undefined>(
      (first, candidate) =>
        first === undefined || candidate.notBefore < first.notBefore ? candidate : first,
      undefined,
    );
  return valid === undefined ? { current: coming, next: undefined } : { current: valid, next: coming };
}

/** About one second, doubling, at most 150 s, ± 20 %. Ambient contract 5. */
export const defaultBackoff: BackoffSettings = {
  firstMilliseconds: 1000,
  maximumMilliseconds: 150_000,
  jitter: 0.2,
};
