import { KmeshError } from '@kmesh/api';
import { formatSocketAddress } from '@kmesh/orchestration';
import type { Engine } from '../engine/engine.ts';
import { revokedEnd, type SessionEnd, type SessionReady } from '../engine/events.ts';
import { sessionEndReason } from '../engine/gen/kinds.ts';
import type { TunnelHandle } from '../engine/native.ts';
import type { TunnelCertificate } from '../options.ts';
import type { TlsContexts } from '../tls/contexts.ts';

/** Key of a pooled connection (contract 6.5): sessions are shared only if all fields are equal. */
export interface PoolTarget {
  /** SPIFFE id of the source workload. */
  readonly sourceIdentity: string;
  readonly sourceIp: string;
  readonly acceptedIdentities: readonly string[];
  readonly ip: string;
  readonly port: number;
}

/** One HBONE connection of the pool. */
export interface PooledSession {
  readonly id: number;
  readonly target: PoolTarget;
  readonly peerNames: readonly string[];
  readonly peerChain: readonly Uint8Array[];
  /** The own certificate that it showed. */
  readonly certificate: TunnelCertificate;
  /** Why the proxy itself ended it, if it did. */
  cause?: 'revoked';
}

/** The own end of a session. */
export interface OwnContext {
  readonly handle: TunnelHandle;
  readonly certificate: TunnelCertificate;
  /** Revision of the revocation lists that verify the peer. */
  readonly revision: number;
}

export function ownContext(tls: TlsContexts, certificate: TunnelCertificate): OwnContext {
  return { handle: tls.client(certificate), certificate, revision: tls.revision };
}

/** The result of requesting a session. */
export type PoolAnswer =
  | { readonly session: PooledSession }
  | { readonly failed: SessionEnd }
  | { readonly error: KmeshError };

interface Session extends PooledSession {
  peerNames: readonly string[];
  peerChain: readonly Uint8Array[];
  bucket: Bucket;
  open: number;
  limit: number;
  /** Whether it takes new streams. */
  pooled: boolean;
  lastUse: number;
  /** Whether plans send streams to it. */
  planned: boolean;
  timer: NodeJS.Timeout | undefined;
}

interface Bucket {
  readonly target: PoolTarget;
  readonly sessions: Session[];
  readonly waiting: ((answer: PoolAnswer) => void)[];
  connecting: boolean;
  /** Sessions in a row that allowed no streams. */
  useless: number;
}

interface PoolOptions {
  readonly engine: Engine;
  /** Engine id of the namespace of outgoing connections. */
  readonly namespace: number;
  readonly maximumStreams: number;
  readonly releaseMilliseconds: number;
  /** Called when a session with planned streams stops taking new ones, or its limit changes. */
  readonly onPlannedLeft?: () => void;
  /** Called when a session to `peer` is not read, because applications read too little. */
  readonly onWaits?: (peer: string) => void;
  readonly connectTimeoutMilliseconds: number;
  /** Returns the TLS context of a source identity. */
  readonly context: (target: PoolTarget) => OwnContext | Promise<OwnContext>;
  /** Whether an own certificate is revoked. */
  readonly isRevoked: (certificate: TunnelCertificate) => boolean;
  /** Whether lists newer than a revision revoke a peer's chain. */
  readonly isRevokedSince: (revision: number, chain: readonly Uint8Array[]) => boolean;
}

/** Maximum number of connections to a server that allows no streams. */
const MAXIMUM_USELESS = 4;
const noStreams: SessionEnd = { reason: sessionEndReason.closed, code: 0, text: 'it allows no streams' };

/** Sessions with fewer streams would withdraw plans constantly. */
const FEWEST_PLANNED = 16;

/** The HBONE connections of one pod: shared by key, one attempt at a time per key, bounded streams each. */
export class SessionPool {
  readonly #options: PoolOptions;
  /** By address; the rest of the key is compared, because few sessions share an address. */
  readonly #buckets = new Map<string, Bucket[]>();
  readonly #sessions = new Set<Session>();
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** Number of sessions, including draining ones. */
  get size(): number {
    return this.#sessions.size;
  }

  sessions(): Iterable<PooledSession> {
    return this.#sessions;
  }

  /**
   * Passes a session with room for one more stream to `use`, immediately if there is one. The caller must
   * {@link release} it when its stream ends.
   */
  acquire(target: PoolTarget, use: (answer: PoolAnswer) => void): void {
    if (this.#closed) {
      use({ error: new KmeshError('KMESH_TUNNEL_CLOSED', 'the proxy no longer serves this pod') });
      return;
    }
    const bucket = this.#bucket(target);
    for (const session of bucket.sessions) {
      this.#checkOut(session);
      use({ session });
      return;
    }
    bucket.waiting.push(use);
    if (!bucket.connecting) this.#connect(bucket);
  }

  /**
   * Returns how many streams plans may open on a session, including its current ones; 0 if plans may not use it. From
   * then on {@link adopt} must be called for each such stream.
   */
  plan(pooled: PooledSession): number {
    const session = pooled as Session;
    if (!session.pooled || session.limit < FEWEST_PLANNED) return 0;
    session.planned = true;
    return session.limit;
  }

  /** Counts a stream that was opened on a session; the caller must {@link release} it when it ends. */
  adopt(pooled: PooledSession): void {
    this.#checkOut(pooled as Session);
  }

  release(pooled: PooledSession): void {
    const session = pooled as Session;
    session.open -= 1;
    session.lastUse = performance.now();
    if (!session.pooled && session.open === 0) this.#options.engine.drainSession(session.id);
  }

  /** Opens no more streams on a session; it ends with its last one. */
  retire(pooled: PooledSession): void {
    const session = pooled as Session;
    if (!session.pooled) return;
    this.#leave(session);
    if (session.open === 0) this.#options.engine.drainSession(session.id);
  }

  /** Ends one session immediately, with all its streams. */
  abort(pooled: PooledSession): void {
    this.#leave(pooled as Session);
    this.#options.engine.abortSession(pooled.id);
  }

  /** Stops accepting new streams; sessions end with their last one, or immediately with `cut`. */
  close(cut: boolean): void {
    this.#closed = true;
    for (const session of [...this.#sessions]) {
      this.#leave(session);
      if (cut) this.#options.engine.abortSession(session.id);
      else if (session.open === 0) this.#options.engine.drainSession(session.id);
    }
  }

  #bucket(target: PoolTarget): Bucket {
    const known = this.#buckets.get(target.ip)?.find((bucket) => sameTarget(bucket.target, target));
    if (known !== undefined) return known;
    const bucket: Bucket = { target, sessions: [], waiting: [], connecting: false, useless: 0 };
    this.#remember(bucket);
    return bucket;
  }

  #remember(bucket: Bucket): void {
    const { ip } = bucket.target;
    const beside = this.#buckets.get(ip);
    if (beside === undefined) this.#buckets.set(ip, [bucket]);
    else if (!beside.includes(bucket)) beside.push(bucket);
  }

  #checkOut(session: Session): void {
    session.open += 1;
    session.lastUse = performance.now();
    // Full: it leaves the pool for good and ends with its last stream.
    if (session.open >= session.limit) this.#leave(session);
  }

  #leave(session: Session): void {
    if (!session.pooled) return;
    session.pooled = false;
    clearTimeout(session.timer);
    if (session.planned) this.#options.onPlannedLeft?.();
    session.planned = false;
    const { bucket } = session;
    const at = bucket.sessions.indexOf(session);
    if (at >= 0) bucket.sessions.splice(at, 1);
    this.#forgetIfUnused(bucket);
  }

  #forgetIfUnused(bucket: Bucket): void {
    if (bucket.sessions.length > 0 || bucket.waiting.length > 0 || bucket.connecting) return;
    const { ip } = bucket.target;
    const rest = this.#buckets.get(ip)?.filter((other) => other !== bucket) ?? [];
    if (rest.length === 0) this.#buckets.delete(ip);
    else this.#buckets.set(ip, rest);
  }

  #connect(bucket: Bucket): void {
    bucket.connecting = true;
    let context: OwnContext | Promise<OwnContext>;
    try {
      context = this.#options.context(bucket.target);
    } catch (error) {
      this.#fail(bucket, { error: asKmeshError(error) });
      return;
    }
    if (context instanceof Promise) {
      context.then(
        (made) => this.#open(bucket, made),
        (error: unknown) => this.#fail(bucket, { error: asKmeshError(error) }),
      );
    } else {
      this.#open(bucket, context);
    }
  }

  #open(bucket: Bucket, own: OwnContext): void {
    const { engine, namespace, connectTimeoutMilliseconds } = this.#options;
    const { ip, port, acceptedIdentities } = bucket.target;
    if (this.#closed) {
      this.#fail(bucket, {
        error: new KmeshError('KMESH_TUNNEL_CLOSED', 'the proxy no longer serves this pod'),
      });
      return;
    }
    let session: Session | undefined;
    const id = engine.connectSession(
      { namespace, ip, port, timeoutMilliseconds: connectTimeoutMilliseconds },
      own.handle,
      acceptedIdentities,
      {
        ready: (ready) => {
          session = this.#ready(bucket, id, ready, own);
        },
        limit: (streams) => {
          if (session === undefined) return;
          session.limit = this.#limit(streams);
          if (session.planned) this.#options.onPlannedLeft?.();
          if (session.open >= session.limit) this.retire(session);
        },
        draining: () => {
          if (session !== undefined) this.retire(session);
        },
        waits: () => this.#options.onWaits?.(formatSocketAddress(ip, port)),
        closed: (end) => {
          if (session === undefined) {
            this.#fail(bucket, { failed: end });
            return;
          }
          this.#leave(session);
          this.#sessions.delete(session);
        },
      },
    );
  }

  #ready(bucket: Bucket, id: number, ready: SessionReady, own: OwnContext): Session {
    const { certificate } = own;
    const session: Session = {
      id,
      target: bucket.target,
      peerNames: ready.peerNames,
      peerChain: ready.peerChain,
      certificate,
      bucket,
      open: 0,
      limit: this.#limit(ready.streamLimit),
      pooled: true,
      lastUse: performance.now(),
      planned: false,
      timer: undefined,
    };
    this.#sessions.add(session);
    bucket.sessions.push(session);
    bucket.connecting = false;
    if (this.#options.isRevokedSince(own.revision, ready.peerChain)) {
      this.abort(session);
      this.#fail(bucket, { failed: revokedEnd });
      return session;
    }
    if (this.#options.isRevoked(certificate)) {
      this.retire(session);
      this.#fail(bucket, { error: ownCertificateRevoked() });
      return session;
    }
    bucket.useless = session.limit === 0 ? bucket.useless + 1 : 0;
    if (session.limit === 0 || this.#closed) {
      this.#leave(session);
      this.#options.engine.drainSession(id);
      if (bucket.useless >= MAXIMUM_USELESS) {
        this.#fail(bucket, { failed: noStreams });
        return session;
      }
    } else {
      this.#armRelease(session);
    }
    while (session.pooled && bucket.waiting.length > 0) {
      const use = bucket.waiting.shift();
      this.#checkOut(session);
      use?.({ session });
    }
    if (bucket.waiting.length > 0 && !bucket.connecting) {
      // The bucket may have been forgotten when its last session left.
      this.#remember(bucket);
      this.#connect(bucket);
    }
    return session;
  }

  #limit(streams: number): number {
    return Math.min(this.#options.maximumStreams, streams);
  }

  #armRelease(session: Session): void {
    const release = this.#options.releaseMilliseconds;
    const check = (): void => {
      const rest = session.lastUse + release - performance.now();
      if (rest > 1) {
        session.timer = setTimeout(check, rest).unref();
        return;
      }
      this.retire(session);
    };
    session.timer = setTimeout(check, release).unref();
  }

  #fail(bucket: Bucket, answer: PoolAnswer): void {
    bucket.connecting = false;
    bucket.useless = 0;
    const waiting = bucket.waiting.splice(0);
    this.#forgetIfUnused(bucket);
    for (const use of waiting) use(answer);
  }
}

function sameTarget(left: PoolTarget, right: PoolTarget): boolean {
  return (
    left.port === right.port &&
    left.sourceIp === right.sourceIp &&
    left.sourceIdentity === right.sourceIdentity &&
    left.acceptedIdentities.length === right.acceptedIdentities.length &&
    left.acceptedIdentities.every((identity, index) => identity === right.acceptedIdentities[index])
  );
}

/** Why a session whose own certificate is revoked carries no requests. */
export function ownCertificateRevoked(): KmeshError {
  return new KmeshError('KMESH_TUNNEL_CERTIFICATE_REVOKED', 'the certificate of the own identity is revoked');
}

function asKmeshError(error: unknown): KmeshError {
  if (error instanceof KmeshError) return error;
  return new KmeshError('KMESH_TUNNEL_IDENTITY', error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}
