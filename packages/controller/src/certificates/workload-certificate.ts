import type { KeyObject, X509Certificate } from 'node:crypto';
import { type BackoffSettings, type Identity, KmeshError } from '@kmesh/api';
import { formatIdentityUri } from '@kmesh/orchestration';
import type { Clock } from './clock.ts';

interface WorkloadCertificateParts {
  readonly identity: Identity;
  readonly chain: readonly X509Certificate[];
  readonly roots: readonly X509Certificate[];
  readonly privateKey: KeyObject;
  readonly version: number;
}

function pem(certificate: X509Certificate): string {
  return certificate.toString();
}

/**
 * A certificate that a workload of this node may present, with its key. The key is accessible only through the
 * accessors: inspecting, logging or serialising the object does not expose it.
 */
export class WorkloadCertificate {
  readonly identity: Identity;
  /** Leaf first, then the intermediates. */
  readonly chain: readonly X509Certificate[];
  /** The trust bundle of the same answer; the only roots trusted for peers. */
  readonly roots: readonly X509Certificate[];
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Grows with every certificate that the manager obtains, across identities. */
  readonly version: number;
  readonly #privateKey: KeyObject;

  constructor(parts: WorkloadCertificateParts) {
    const leaf = parts.chain[0];
    this.identity = parts.identity;
    this.chain = parts.chain;
    this.roots = parts.roots;
    this.notBefore = leaf?.validFromDate.getTime() ?? 0;
    this.notAfter = leaf?.validToDate.getTime() ?? 0;
    this.version = parts.version;
    this.#privateKey = parts.privateKey;
  }

  /** Leaf and intermediates, as the `cert` option of TLS takes them. */
  get certificateChainPem(): string {
    return this.chain.map(pem).join('');
  }

  /** The roots, as the `ca` option of TLS takes them. */
  get rootsPem(): readonly string[] {
    return this.roots.map(pem);
  }

  /** The private key; never log it. */
  get privateKey(): KeyObject {
    return this.#privateKey;
  }

  /** PKCS #8 PEM, for handing it to a data thread; never log it. */
  get privateKeyPem(): string {
    return this.#privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  }

  /** Returns the part that log lines and dumps may contain. */
  toJSON(): Record<string, unknown> {
    return {
      identity: this.identity,
      version: this.version,
      notBefore: new Date(this.notBefore).toISOString(),
      notAfter: new Date(this.notAfter).toISOString(),
    };
  }
}

/** Validity in milliseconds since 1970. */
interface ValidityPeriod {
  readonly notBefore: number;
  readonly notAfter: number;
}

/**
 * Returns when to renew a certificate: at half of its lifetime. Returns `now` if that has passed, or if the certificate
 * is not valid yet. Ambient contract 5.
 */
export function refreshAt(validity: ValidityPeriod, now: number): number {
  if (now < validity.notBefore) return now;
  return Math.max(now, validity.notBefore + (validity.notAfter - validity.notBefore) / 2);
}

/** Returns whether a certificate may be presented. Ignores the start of validity, which the peer judges: clocks differ. */
export function isServable(validity: ValidityPeriod, now: number): boolean {
  return now < validity.notAfter;
}

/** Returns whether a certificate is within its validity period. */
export function isValid(validity: ValidityPeriod, now: number): boolean {
  return validity.notBefore <= now && now < validity.notAfter;
}

/**
 * Chooses the certificate to present among those of one identity, given oldest first: the newest that is valid now, else
 * the one that becomes valid first. An authority whose clock is ahead issues only certificates that are not valid yet:
 * always taking the newest of those would never yield a valid one.
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

/** One waiting caller. */
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
  /** A newer certificate that replaces `current` once it is valid. */
  next: WorkloadCertificate | undefined;
  error: KmeshError | undefined;
  /** Consecutive failures, or consecutive certificates due for renewal on arrival; determines the current delay. */
  setbacks: number;
  /** Monotonic time before which no attempt is made. */
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
 * Waits for the certificate of `entry`. With `milliseconds`, tolerates failures until then; without, rejects on the next
 * failure.
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

/** Rejects waiting callers: all, or those that `which` selects. */
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

/** Returns the error of a failed attempt, naming the identity. */
export function asError(uri: string, cause: unknown): KmeshError {
  if (cause instanceof KmeshError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new KmeshError('KMESH_CERTIFICATE_UNAVAILABLE', `no certificate of ${uri}: ${reason}`, { cause });
}

export function expiredOnArrival(uri: string): KmeshError {
  return new KmeshError(
    'KMESH_CERTIFICATE_EXPIRED',
    `the certificate authority issued ${uri} an expired certificate; compare its clock with this node`,
  );
}

export function closedError(): KmeshError {
  return new KmeshError(
    'KMESH_CERTIFICATES_CLOSED',
    'the proxy is stopping; no more certificates are requested',
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
