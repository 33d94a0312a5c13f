import type { Identity } from '@kmesh/api';
import { type Baggage, formatSocketAddress } from '@kmesh/orchestration';
import type { Accepted, Request, SessionEnd, SessionReady } from '../engine/events.ts';
import { revokedVerdict } from '../engine/events.ts';
import { sessionEndReason } from '../engine/gen/kinds.ts';
import type { SessionHandler } from '../engine/handlers.ts';
import { serveRequest } from '../inbound/hbone.ts';
import type { TunnelCertificate } from '../options.ts';
import { firstIdentity } from '../outbound/outbound.ts';
import { ownCertificateRevoked } from '../outbound/pool.ts';
import { cachedIdentityUri } from '../outbound/request-fields.ts';
import type { Carried } from './carried.ts';
import { socketClosed, socketOpened } from './carried.ts';
import type { PodContext } from './pod-context.ts';
import { reportUnread } from './unread.ts';

const peerRevoked = 'the certificate of the client is revoked';

/** One HBONE connection that a peer opened to the pod (contract 6.6). */
export class ServedSession implements SessionHandler {
  readonly id: number;
  readonly accepted: Accepted;
  readonly #pod: PodContext;
  /** The peer identity, proved by its certificate; fixed for the life of the connection. */
  identity: Identity | undefined;
  peerChain: readonly Uint8Array[] = [];
  /** The first description that the peer sent on this connection. */
  baggage: Baggage | undefined;
  /** Its requests that became connections. */
  readonly carried = new Set<Carried>();
  /** What the own end proved in the handshake. */
  #own:
    | { readonly identity: string; readonly certificate: TunnelCertificate; readonly revision: number }
    | undefined;
  #ready = false;
  /** Whether lists that came during the handshake revoke the peer. */
  #peerRevoked = false;
  #cut = false;

  constructor(pod: PodContext, accepted: Accepted) {
    this.#pod = pod;
    this.id = accepted.id;
    this.accepted = accepted;
    pod.served.add(this);
    pod.engine.handleSession(accepted.id, this);
    pod.handshakes.begin(this, accepted.peer.ip)?.giveUp();
    socketOpened(pod, 'destination');
    void this.#accept();
  }

  ready(ready: SessionReady): void {
    this.#ready = true;
    this.#pod.handshakes.end(this);
    this.identity = firstIdentity(ready.peerNames);
    this.peerChain = ready.peerChain;
    if (ready.peerChain.length === 0) this.#pod.counters.revocationUntracked('destination');
    if (this.#own !== undefined && this.#pod.tls.isRevokedSince(this.#own.revision, ready.peerChain)) {
      this.#peerRevoked = true;
      this.#pod.counters.revocationRejected('destination');
      this.#deny(peerRevoked);
      this.abort();
    }
  }

  request(request: Request): void {
    serveRequest(this.#pod, this, request);
  }

  waits(): void {
    reportUnread(
      this.#pod.logger,
      this.#pod.info,
      formatSocketAddress(this.accepted.peer.ip, this.accepted.peer.port),
    );
  }

  closed(end: SessionEnd): void {
    this.#pod.served.delete(this);
    this.#pod.handshakes.end(this);
    socketClosed(this.#pod, 'destination');
    if (this.#ready || this.#cut || end.reason === sessionEndReason.aborted) return;
    if (end.code === revokedVerdict && end.reason === sessionEndReason.tlsFailed) {
      this.#pod.counters.revocationRejected('destination');
    }
    this.#deny(`TLS handshake failed: ${end.text === '' ? 'the peer closed the connection' : end.text}`);
  }

  /**
   * Returns why it takes no requests, if so: its handshake, which also compared the peer's trust domain with the own
   * one, was that of another identity, or the own certificate is revoked.
   */
  get retired(): string | undefined {
    const own = this.#own;
    const workload = this.#pod.ownWorkload();
    if (own === undefined || workload === undefined) return undefined;
    if (this.#peerRevoked) return peerRevoked;
    if (own.identity !== cachedIdentityUri(workload))
      return `the pod no longer has the identity ${own.identity}`;
    return this.#pod.tls.isRevoked(own.certificate) ? ownCertificateRevoked().message : undefined;
  }

  /** Sends GOAWAY if it takes no more requests. */
  review(): void {
    if (this.retired !== undefined) this.drain();
  }

  /** Sends GOAWAY: open streams may finish. */
  drain(): void {
    this.#pod.engine.drainSession(this.id);
  }

  /** Ends it immediately, with all its streams. */
  abort(): void {
    this.#cut = true;
    this.#pod.engine.abortSession(this.id);
  }

  /** Ends its handshake in favour of others. */
  giveUp(): void {
    this.#deny('too many TLS handshakes are in progress, and this is the oldest');
    this.abort();
  }

  async #accept(): Promise<void> {
    try {
      const pod = this.#pod;
      const workload = pod.ownWorkload() ?? (await pod.awaitOwnWorkload());
      const certificate = await pod.certificate(workload);
      this.#own = { identity: cachedIdentityUri(workload), certificate, revision: pod.tls.revision };
      // Read for each connection, so that a rotated certificate applies from the next one on.
      pod.engine.acceptSession(this.id, pod.tls.server(certificate), workload.trustDomain);
    } catch (error) {
      this.#deny(error instanceof Error ? error.message : String(error));
      this.abort();
    }
  }

  #deny(error: string): void {
    this.#pod.observer.earlyDeny({
      sourceAddress: formatSocketAddress(this.accepted.peer.ip, this.accepted.peer.port),
      destinationAddress: formatSocketAddress(this.accepted.local.ip, this.accepted.local.port),
      reporter: 'destination',
      error,
      pod: this.#pod.info,
    });
  }
}
