import { type Identity, KmeshError } from '@kmesh/api';
import { formatIdentityUri } from '@kmesh/orchestration';
import type { Clock } from './clock.ts';
import type { WorkloadCertificate } from './workload-certificate.ts';

/** One caller that waits. */
interface Waiter {
  readonly resolve: (certificate: WorkloadCertificate) => void;
  readonly reject: (error: Error) => void;
  readonly patient: boolean;
  readonly cancelTimer: () => void;
}

/** State of one identity in the manager. */
export interface Entry {
  readonly identity: Identity;
  readonly key: string;
  readonly waiters: Set<Waiter>;
  readonly abort: AbortController;
  fetching: boolean;
  current: WorkloadCertificate | undefined;
  /** A newer one that takes the place of `current` when it becomes valid. */
  next: WorkloadCertificate | undefined;
  error: KmeshError | undefined;
  /** Failed tries in a row, or certificates in a row that were due for renewal on arrival. */
  setbacks: number;
  /** Monotonic time before which nothing is tried. */
  earliest: number;
}

export function newEntry(identity: Identity): Entry {
  return {
    identity,
    key: formatIdentityUri(identity),
    waiters: new Set(),
    abort: new AbortController(),
    fetching: false,
    current: undefined,
    next: undefined,
    error: undefined,
    setbacks: 0,
    earliest: 0,
  };
}

/**
 * Adds a caller to those that wait for `entry`. With `milliseconds` it sits out failures until then; without, the next
 * failure reaches it.
 */
export function waitFor(
  entry: Entry,
  milliseconds: number | undefined,
  clock: Clock,
): Promise<WorkloadCertificate> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      entry.waiters.delete(waiter);
      reject(entry.error ?? timedOut(entry.key, milliseconds));
    };
    const cancelTimer = milliseconds === undefined ? () => undefined : clock.after(milliseconds, giveUp);
    const waiter: Waiter = { resolve, reject, patient: milliseconds !== undefined, cancelTimer };
    entry.waiters.add(waiter);
  });
}

export function resolveWaiters(entry: Entry, certificate: WorkloadCertificate): void {
  for (const waiter of entry.waiters) {
    waiter.cancelTimer();
    waiter.resolve(certificate);
  }
  entry.waiters.clear();
}

/** Turns callers away: all, or those that `which` picks. */
export function rejectWaiters(
  entry: Entry,
  error: Error,
  which: (waiter: Waiter) => boolean = () => true,
): void {
  for (const waiter of entry.waiters) {
    if (!which(waiter)) continue;
    entry.waiters.delete(waiter);
    waiter.cancelTimer();
    waiter.reject(error);
  }
}

/** A failed try, in words about the identity. */
export function asError(uri: string, cause: unknown): KmeshError {
  if (cause instanceof KmeshError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new KmeshError('KMESH_CERTIFICATE_UNAVAILABLE', `no certificate of ${uri}: ${reason}`, { cause });
}

export function expiredOnArrival(uri: string): KmeshError {
  return new KmeshError(
    'KMESH_CERTIFICATE_EXPIRED',
    `the certificate authority issued ${uri} a certificate that has already expired; compare the clocks`,
  );
}

export function closedError(): KmeshError {
  return new KmeshError(
    'KMESH_CERTIFICATES_CLOSED',
    'the proxy is stopping; no certificates are issued any more',
  );
}

export function forgottenError(uri: string): KmeshError {
  return new KmeshError(
    'KMESH_CERTIFICATE_FORGOTTEN',
    `${uri} has left this node; its certificate is dropped`,
  );
}

function timedOut(uri: string, milliseconds: number | undefined): KmeshError {
  return new KmeshError(
    'KMESH_CERTIFICATE_TIMEOUT',
    `no certificate of ${uri} within ${milliseconds} ms; check that istiod answers at CA_ADDRESS`,
  );
}
