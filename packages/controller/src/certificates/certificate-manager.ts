import type { KeyObject } from 'node:crypto';
import { type BackoffSettings, backoffMilliseconds, type Identity, type Logger } from '@kmesh/api';
import { formatIdentityUri } from '@kmesh/orchestration';
import type { IssuedChain } from './certificate-messages.ts';
import { type Clock, systemClock } from './clock.ts';
import { type CertificatePriority, RequestQueue } from './request-queue.ts';
import {
  asError,
  chooseCertificate,
  closedError,
  defaultBackoff,
  type Entry,
  expiredOnArrival,
  forgottenError,
  isServable,
  isValid,
  newEntry,
  refreshAt,
  rejectWaiters,
  resolveWaiters,
  WorkloadCertificate,
  waitFor,
} from './workload-certificate.ts';

/** Result of one call to the certificate authority. */
export interface IssuedCertificate extends IssuedChain {
  readonly privateKey: KeyObject;
}

/** Obtains one new certificate. Rejects on failure; `signal` is aborted when the certificate is no longer needed. */
export type CertificateSource = (identity: Identity, signal: AbortSignal) => Promise<IssuedCertificate>;

interface CertificateManagerOptions {
  readonly source: CertificateSource;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly backoff?: BackoffSettings;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  /** Default 8. */
  readonly maximumInFlight?: number;
}

interface CertificateWait {
  /**
   * Tolerates failed attempts for this long instead of failing with the first. For connections of pods that have just
   * started, which istiod may not know yet.
   */
  readonly waitMilliseconds?: number;
}

/** `certificate` is `undefined` when the identity was forgotten. */
interface CertificateChange {
  readonly identity: Identity;
  readonly certificate: WorkloadCertificate | undefined;
}

export interface CertificateEntry {
  readonly identity: Identity;
  readonly state: 'Available' | 'Initializing' | 'Unavailable';
  /** Why it is unavailable. */
  readonly reason: string | undefined;
  readonly certificate: WorkloadCertificate | undefined;
}

/** Longest timer: after a jump of the wall clock, all entries are checked again within this time. */
const longestSleepMilliseconds = 30_000;

/**
 * Holds the certificates of this node's identities: one call at a time per identity, eight in total, renewal at half of
 * the lifetime; the old certificate is served until it expires. Ambient contract 5.
 */
export class CertificateManager {
  readonly #source: CertificateSource;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #backoff: BackoffSettings;
  readonly #random: () => number;
  readonly #queue: RequestQueue;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<(change: CertificateChange) => void>();
  #cancelTimer: () => void = () => undefined;
  #version = 0;
  #newest: WorkloadCertificate | undefined;
  #closed = false;

  constructor(options: CertificateManagerOptions) {
    this.#source = options.source;
    this.#logger = options.logger;
    this.#clock = options.clock ?? systemClock;
    this.#backoff = options.backoff ?? defaultBackoff;
    this.#random = options.random ?? Math.random;
    this.#queue = new RequestQueue(options.maximumInFlight ?? 8);
  }

  /**
   * Returns the certificate of `identity`: at once if one is valid, else as soon as the authority has issued it.
   *
   * @throws the error of the last attempt, at once, during its back-off (unless
   * {@link CertificateWait.waitMilliseconds} is set); KMESH_CERTIFICATE_FORGOTTEN when the identity left the node
   * meanwhile; KMESH_CERTIFICATE_TIMEOUT when the wait is over and no attempt has ended.
   */
  certificate(
    identity: Identity,
    priority: CertificatePriority,
    wait: CertificateWait = {},
  ): Promise<WorkloadCertificate> {
    if (this.#closed) return Promise.reject(closedError());
    const entry = this.#entryOf(identity);
    const current = this.#servable(entry);
    if (current !== undefined) return Promise.resolve(current);
    const patient = wait.waitMilliseconds !== undefined;
    if (!entry.fetching && entry.error !== undefined && this.#clock.monotonic() < entry.earliest) {
      if (!patient) return Promise.reject(entry.error);
    } else if (entry.fetching) {
      this.#queue.raise(entry.key, priority);
    } else {
      this.#fetch(entry, priority);
    }
    return waitFor(entry, wait.waitMilliseconds, this.#clock);
  }

  /** Returns the certificate that {@link certificate} would return without waiting, if any. */
  current(identity: Identity): WorkloadCertificate | undefined {
    const entry = this.#entries.get(formatIdentityUri(identity));
    return entry === undefined ? undefined : this.#servable(entry);
  }

  /** The roots of the authority's newest answer: the mesh's trust bundle. Empty before the first answer. */
  get trustBundlePem(): readonly string[] {
    return this.#newest?.rootsPem ?? [];
  }

  /** Drops the certificate of `identity`, its renewal, and the result of a call in progress. */
  forget(identity: Identity): void {
    const entry = this.#entries.get(formatIdentityUri(identity));
    if (entry === undefined) return;
    this.#entries.delete(entry.key);
    this.#queue.remove(entry.key);
    entry.abort.abort();
    rejectWaiters(entry, forgottenError(entry.key));
    this.#emit({ identity, certificate: undefined });
  }

  /** Calls `listener` for each new and each forgotten certificate. Returns an unsubscribe function. */
  onChange(listener: (change: CertificateChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Returns every known identity with its state, for the config dump. */
  entries(): readonly CertificateEntry[] {
    return [...this.#entries.values()].map((entry) => {
      const certificate = this.#servable(entry);
      if (certificate !== undefined) {
        return { identity: entry.identity, state: 'Available', reason: undefined, certificate };
      }
      const reason =
        entry.error?.message ?? (entry.current === undefined ? undefined : 'the certificate has expired');
      if (reason === undefined) {
        return { identity: entry.identity, state: 'Initializing', reason: undefined, certificate: undefined };
      }
      return { identity: entry.identity, state: 'Unavailable', reason, certificate: undefined };
    });
  }

  /** Stops renewal and rejects waiting callers. */
  close(): void {
    this.#closed = true;
    this.#cancelTimer();
    for (const entry of this.#entries.values()) {
      this.#queue.remove(entry.key);
      entry.abort.abort();
      rejectWaiters(entry, closedError());
    }
    this.#entries.clear();
    this.#listeners.clear();
  }

  #entryOf(identity: Identity): Entry {
    const known = this.#entries.get(formatIdentityUri(identity));
    if (known !== undefined) return known;
    const entry = newEntry(identity);
    this.#entries.set(entry.key, entry);
    return entry;
  }

  #servable(entry: Entry): WorkloadCertificate | undefined {
    return entry.current !== undefined && isServable(entry.current, this.#clock.now())
      ? entry.current
      : undefined;
  }

  #fetch(entry: Entry, priority: CertificatePriority): void {
    entry.fetching = true;
    this.#queue.add(entry.key, priority, async () => {
      try {
        const issued = await this.#source(entry.identity, entry.abort.signal);
        if (this.#entries.get(entry.key) === entry) this.#succeed(entry, issued);
      } catch (cause) {
        if (this.#entries.get(entry.key) === entry) this.#fail(entry, cause);
      }
    });
  }

  #succeed(entry: Entry, issued: IssuedCertificate): void {
    this.#version += 1;
    const certificate = new WorkloadCertificate({
      ...issued,
      identity: entry.identity,
      version: this.#version,
    });
    const now = this.#clock.now();
    if (!isServable(certificate, now)) {
      this.#fail(entry, expiredOnArrival(entry.key));
      return;
    }
    entry.fetching = false;
    const before = entry.current;
    const candidates = [before, entry.next, certificate].filter((one) => one !== undefined);
    const { current = certificate, next } = chooseCertificate(candidates, now);
    entry.current = current;
    entry.next = next;
    this.#newest = certificate;
    entry.error = undefined;
    if (refreshAt(certificate, now) > now) {
      entry.setbacks = 0;
      entry.earliest = 0;
    } else {
      // The authority's clock differs from ours, or it issues stale certificates: an immediate retry would never end.
      this.#postpone(entry);
    }
    if (!isValid(certificate, now)) this.#warnOfFuture(entry, certificate);
    if (current !== certificate) {
      resolveWaiters(entry, current);
      if (current !== before) this.#emit({ identity: entry.identity, certificate: current });
      this.#schedule();
      return;
    }
    this.#logger.debug('certificate obtained', {
      identity: entry.key,
      version: certificate.version,
      expires: new Date(certificate.notAfter).toISOString(),
    });
    resolveWaiters(entry, certificate);
    this.#emit({ identity: entry.identity, certificate });
    this.#schedule();
  }

  #warnOfFuture(entry: Entry, certificate: WorkloadCertificate): void {
    const { current } = entry;
    this.#logger.warn(
      'the certificate authority issued a certificate that is not valid yet; compare its clock with this node',
      {
        identity: entry.key,
        valid_from: new Date(certificate.notBefore).toISOString(),
        served:
          current === certificate
            ? 'this one; peers reject it until then'
            : `an earlier one, valid from ${new Date(current?.notBefore ?? 0).toISOString()}`,
      },
    );
  }

  /** Replaces the current certificate by the next one once that is valid. */
  #promote(entry: Entry): void {
    const { next } = entry;
    if (next === undefined || !isValid(next, this.#clock.now())) return;
    entry.current = next;
    entry.next = undefined;
    entry.setbacks = 0;
    this.#emit({ identity: entry.identity, certificate: next });
  }

  #fail(entry: Entry, cause: unknown): void {
    entry.fetching = false;
    entry.error = asError(entry.key, cause);
    const delay = this.#postpone(entry);
    this.#logger.warn('certificate request failed', {
      identity: entry.key,
      code: entry.error.code,
      error: entry.error.message,
      retry_in_seconds: Math.round(delay / 100) / 10,
      served_until: entry.current === undefined ? undefined : new Date(entry.current.notAfter).toISOString(),
    });
    if (this.#servable(entry) === undefined) rejectWaiters(entry, entry.error, (waiter) => !waiter.patient);
    this.#schedule();
  }

  #postpone(entry: Entry): number {
    entry.setbacks += 1;
    const delay = backoffMilliseconds(this.#backoff, entry.setbacks, this.#random());
    entry.earliest = this.#clock.monotonic() + delay;
    return delay;
  }

  /** Returns the milliseconds until `entry` needs a call; `undefined` while one is in progress. */
  #dueIn(entry: Entry): number | undefined {
    if (entry.fetching) return undefined;
    const now = this.#clock.now();
    const { current, next } = entry;
    // No call is needed if the next one becomes valid before the current one expires.
    if (next !== undefined && current !== undefined && next.notBefore < current.notAfter)
      return Math.max(0, next.notBefore - now);
    const backoff = entry.earliest - this.#clock.monotonic();
    const refresh =
      entry.current === undefined || entry.error !== undefined ? 0 : refreshAt(entry.current, now) - now;
    return Math.max(0, backoff, refresh);
  }

  #schedule(): void {
    this.#cancelTimer();
    if (this.#closed) return;
    let sleep = longestSleepMilliseconds;
    for (const entry of this.#entries.values()) sleep = Math.min(sleep, this.#dueIn(entry) ?? sleep);
    this.#cancelTimer = this.#clock.after(Math.ceil(sleep), () => this.#renewDue());
  }

  #renewDue(): void {
    for (const entry of this.#entries.values()) {
      this.#promote(entry);
      if (this.#dueIn(entry) !== 0) continue;
      const waitedFor = entry.waiters.size > 0 ? 'RealTime' : 'Warmup';
      this.#fetch(entry, this.#servable(entry) === undefined ? waitedFor : 'Background');
    }
    this.#schedule();
  }

  #emit(change: CertificateChange): void {
    for (const listener of this.#listeners) listener(change);
  }
}
