import { closeSync } from 'node:fs';
import { isIPv4 } from 'node:net';
import type { PodInfo } from '@kmesh/api';
import { KmeshError, type Logger, type Workload } from '@kmesh/api';
import {
  errnoName,
  listInterfaces,
  migrateOnClose,
  type NetworkNamespace,
  openListener,
  SystemCallError,
} from '@kmesh/linux';
import { type Authorization, identityUriOf, parseIdentity, waitForWorkload } from '@kmesh/orchestration';
import type { Engine } from '../engine/engine.ts';
import type { Accepted } from '../engine/events.ts';
import type { ListenerHandler } from '../engine/handlers.ts';
import { nativeTunnel } from '../engine/native.ts';
import type { Failure } from '../failure.ts';
import { ConnectionTracker, type TrackedConnection } from '../inbound/connection-tracker.ts';
import { servePlaintext } from '../inbound/passthrough.ts';
import type { PeerBaggage } from '../inbound/peer-baggage.ts';
import type { TunnelCertificate, TunnelCounters, TunnelOptions } from '../options.ts';
import { serveOutbound } from '../outbound/outbound.ts';
import { ownContext, SessionPool } from '../outbound/pool.ts';
import type { ResolvedSettings } from '../settings.ts';
import type { TlsContexts } from '../tls/contexts.ts';
import type { CarriedDump } from './carried.ts';
import type { DescriptorShares } from './descriptor-share.ts';
import type { OpenHandshakes } from './open-handshakes.ts';
import type { PodContext } from './pod-context.ts';
import { ServedSession } from './served-session.ts';
import { reportUnread } from './unread.ts';

/** Options of a pod proxy. */
interface PodProxyOptions {
  readonly uid: string;
  readonly info: PodInfo;
  /** Namespace of the listeners; undefined = the process's own. */
  readonly namespace: NetworkNamespace | undefined;
  readonly engine: Engine;
  readonly tunnel: TunnelOptions;
  readonly settings: ResolvedSettings;
  readonly tls: TlsContexts;
  readonly peers: PeerBaggage;
  readonly shares: DescriptorShares;
  readonly handshakes: OpenHandshakes<ServedSession>;
  readonly counters: TunnelCounters;
  readonly resolveHostname: (hostname: string) => Promise<readonly string[]>;
  /** The proxy itself: HBONE only, no source preservation, its workload from this function (contract 2.4). */
  readonly self?: { readonly workload: () => Workload | undefined };
}

/** The proxy of one pod: its listeners, pool and live connections. */
export class PodProxy {
  readonly uid: string;
  readonly info: PodInfo;
  readonly #context: PodContext;
  readonly #namespace: NetworkNamespace | undefined;
  readonly #listeners: number[] = [];
  #closed = false;
  #draining = false;

  /** @throws SystemCallError `KMESH_SOCKET_FAILED` when a port cannot be bound; everything is cleaned up. */
  constructor(options: PodProxyOptions) {
    this.uid = options.uid;
    this.info = options.info;
    this.#namespace = options.namespace;
    const descriptors = openListeners(options);
    const { engine, tunnel } = options;
    const namespace = options.namespace === undefined ? 0 : engine.addNamespace(options.namespace);
    this.#context = podContext(options, namespace, () => !this.#draining);
    for (const { fd, kind } of descriptors) {
      const handler = this.#listenerHandler(kind, tunnel.logger);
      this.#listeners.push(engine.addListener(fd, kind, handler));
    }
  }

  /** Returns whether it runs in the same namespace (device and inode). */
  runsIn(namespace: NetworkNamespace): boolean {
    return this.#namespace?.sameAs(namespace) ?? false;
  }

  get connectionCount(): number {
    return this.#context.carried.size;
  }

  get sessionCount(): number {
    return this.#context.pool.size + this.#context.served.size;
  }

  /** Number of HBONE connections that peers opened to this pod. */
  get servedCount(): number {
    return this.#context.served.size;
  }

  /** Number of inner connections through gateways, also those whose last bytes the gateway has still to take. */
  get nestedCount(): number {
    return this.#context.nested.size;
  }

  connections(): CarriedDump[] {
    return [...this.#context.carried].map(({ dump }) => dump);
  }

  meshChanged(change: import('@kmesh/orchestration').MeshChange): void {
    this.#context.tracker.changed(change);
    if (change.workloads.size === 0) return;
    for (const session of this.#context.served) session.review();
  }

  /**
   * Cuts connections of peers whose certificates the new lists revoke (contract 5). Sessions whose own certificate they
   * revoke take no more requests.
   */
  revocationsChanged(lists: readonly Uint8Array[]): void {
    const { counters, engine, pool, served, nested, carried } = this.#context;
    const revoked = (chain: readonly Uint8Array[]): boolean =>
      nativeTunnel().tunnelChainRevoked(chain, lists);
    for (const session of [...served]) {
      session.review();
      if (session.peerChain.length === 0 || !revoked(session.peerChain)) continue;
      const error = `the certificate of the client ${session.accepted.peer.ip} was revoked`;
      for (const connection of session.carried) connection.cause = { flag: 'CERT_REVOKED', error };
      counters.revocationRejected('destination');
      session.abort();
    }
    for (const session of [...pool.sessions()]) {
      if (this.#context.tls.isRevoked(session.certificate)) pool.retire(session);
      if (!revoked(session.peerChain)) continue;
      session.cause = 'revoked';
      const where = `${session.target.ip}:${session.target.port}`;
      for (const connection of carried) {
        if (connection.session !== session) continue;
        connection.cause = { flag: 'CERT_REVOKED', error: `the certificate of ${where} was revoked` };
      }
      counters.revocationRejected('source');
      pool.abort(session);
    }
    for (const session of [...nested]) {
      if (!revoked(session.peerChain)) continue;
      session.carried.cause = {
        flag: 'CERT_REVOKED',
        error: `the certificate of ${session.where} was revoked`,
      };
      counters.revocationRejected('source');
      engine.abortSession(session.id);
    }
  }

  /** Closes listeners immediately and sends GOAWAY on HBONE; live connections continue. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#context.engine.takeBack();
    for (const listener of this.#listeners) this.#context.engine.removeListener(listener);
    for (const session of this.#context.served) session.drain();
  }

  /** Ends a drain: connections whose bytes are delivered end by FIN, as in ztunnel. {@link close} cuts the rest. */
  leave(): void {
    this.drain();
    for (const connection of [...this.#context.carried]) connection.leave(STOPPED);
  }

  /** Cuts everything immediately (contract 2.7, immediate drain). */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.drain();
    const { engine, carried, served, pool, namespace } = this.#context;
    for (const connection of [...carried]) connection.cut(STOPPED);
    for (const session of [...served]) session.abort();
    pool.close(true);
    engine.removeNamespace(namespace);
    this.#namespace?.close();
  }

  #listenerHandler(kind: ListenerKind, logger: Logger): ListenerHandler {
    const context = this.#context;
    let lastReport = 0;
    return {
      accepted: (accepted: Accepted) => {
        const admitted = context.share.admits();
        if (!admitted) context.counters.shareExceeded(context.info);
        if (this.#closed || !admitted) {
          if (kind === 'hbone') context.engine.abortSession(accepted.id);
          else context.engine.rejectFlow(accepted.id);
        } else if (kind === 'outbound') serveOutbound(context, accepted);
        else if (kind === 'plaintext') servePlaintext(context, accepted);
        else {
          const session = new ServedSession(context, accepted);
          if (this.#draining) session.drain();
        }
      },
      failed: (errno) => {
        context.counters.acceptFailed();
        const now = performance.now();
        if (lastReport !== 0 && now - lastReport < 10_000) return;
        lastReport = now;
        logger.error(
          `connections wait because the proxy cannot accept them: ${errnoName(errno)}; raise its file descriptor limit`,
          { pod: `${this.info.namespace}/${this.info.name}`, port: context.settings.ports[kind] },
        );
      },
    };
  }
}

const STOPPED: Failure = { flag: '-', error: 'closed because the pod left the mesh or the proxy stopped' };

type ListenerKind = 'outbound' | 'plaintext' | 'hbone';

/** Connections that plans may admit before they are counted; with less room each is decided separately. */
const ROOM_FOR_PLANS = 1_024;
/** Maximum age of a plan. */
const PLAN_MILLISECONDS = 60_000;

const EAFNOSUPPORT = 97;
const EADDRNOTAVAIL = 99;

function openListeners(options: PodProxyOptions): { fd: number; kind: ListenerKind }[] {
  const kinds: ListenerKind[] = options.self === undefined ? ['outbound', 'plaintext', 'hbone'] : ['hbone'];
  const opened: { fd: number; kind: ListenerKind }[] = [];
  try {
    for (const kind of kinds) opened.push({ kind, fd: openPort(options, options.settings.ports[kind]) });
    for (const address of handoffAddresses(options))
      opened.push({ kind: 'outbound', fd: openPort(options, options.settings.ports.outbound, address) });
    if (options.settings.portReuse) for (const { fd } of opened) prepareHandOver(options, fd);
    return opened;
  } catch (error) {
    for (const { fd } of opened) closeSync(fd);
    throw error;
  }
}

/**
 * Returns the pod's own addresses, where handed-over connections arrive. A listener on such an address takes
 * precedence over a wildcard listener, so another proxy on the same ports without hand-off gets none of them.
 */
function handoffAddresses({ tunnel, settings, namespace, info }: PodProxyOptions): string[] {
  if (tunnel.handoffs === undefined || namespace === undefined || !settings.portReuse) return [];
  try {
    return listInterfaces(namespace, namespace)
      .filter(({ name }) => name !== 'lo')
      .flatMap(({ addresses }) => addresses)
      .filter((address) => (isIPv4(address) ? true : settings.ipv6 && !/^fe[89ab]/i.test(address)));
  } catch (error) {
    tunnel.logger.warn('another proxy of this pod may receive connections that it cannot serve', {
      pod: `${info.namespace}/${info.name}`,
      error: (error as Error).message,
    });
    return [];
  }
}

/** Lets the next instance's listener complete handshakes in progress when this one closes (contract 10.5). */
function prepareHandOver({ tunnel, info }: PodProxyOptions, listener: number): void {
  try {
    migrateOnClose(listener);
  } catch (error) {
    tunnel.logger.debug('connections that begin during a hand-over may be reset', {
      pod: `${info.namespace}/${info.name}`,
      error: (error as Error).message,
    });
  }
}

/**
 * Opens a listener on one address, or on all. A listener that cannot be made transparent still serves, unless
 * `ENABLE_ORIG_SRC=true` requires it. The engine resets the option on plaintext listeners
 * (`Listener::forgetTransparent`), whose connections are redirected to a local address.
 */
function openPort(options: PodProxyOptions, port: number, only?: string): number {
  const { settings, namespace } = options;
  const open = (address: string, transparent: boolean): number =>
    openListener({
      address,
      port,
      backlog: 1024,
      reuseAddress: true,
      reusePort: settings.portReuse,
      transparent,
      ...(namespace === undefined ? {} : { namespace }),
      ...(settings.mark === undefined ? {} : { mark: settings.mark }),
    });
  const wanted = settings.originalSource !== false && options.self === undefined;
  const address = only ?? (settings.ipv6 ? '::' : '0.0.0.0');
  try {
    return open(address, wanted);
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    const noIpv6 = error.errno === EAFNOSUPPORT || error.errno === EADDRNOTAVAIL;
    if (only === undefined && noIpv6) return open('0.0.0.0', wanted);
    if (wanted && settings.originalSource === undefined && error.syscall.includes('TRANSPARENT')) {
      return open(address, false);
    }
    throw error;
  }
}

function podContext(options: PodProxyOptions, namespace: number, serves: () => boolean): PodContext {
  const { tunnel, settings, engine, info, uid, self } = options;
  const { mesh, certificates, logger, picks } = tunnel;
  const ownWorkload =
    self?.workload ?? (() => mesh.localWorkload(info.namespace, info.serviceAccount, info.name));
  const certificate = (workload: Workload): TunnelCertificate | Promise<TunnelCertificate> =>
    certificates.current?.(identityOf(workload)) ??
    certificates.certificate(identityOf(workload), 'RealTime', {
      waitMilliseconds: settings.ownWaitMilliseconds,
    });
  const context: PodContext = {
    uid,
    info,
    engine,
    namespace,
    mesh,
    node: tunnel.node,
    certificates,
    observer: tunnel.observer,
    logger,
    settings,
    tls: options.tls,
    peers: options.peers,
    share: options.shares.pod((held) =>
      options.tunnel.logger.warn(
        'a pod has reached its share of the file descriptors; further connections are refused until some have ended',
        { pod: `${options.info.namespace}/${options.info.name}`, descriptors: held },
      ),
    ),
    counters: options.counters,
    resolveHostname: options.resolveHostname,
    demand: tunnel.demand,
    pickOf: (pick) => (pick === 0 ? undefined : picks?.uidOf(pick)),
    mayPlan: () => serves() && !settings.policyInfoLogging && context.share.room >= ROOM_FOR_PLANS,
    reviewPlans: (madeAt) => {
      if (performance.now() - madeAt > PLAN_MILLISECONDS || !context.mayPlan()) engine.takeBack();
    },
    preserveSource: settings.originalSource !== false && self === undefined,
    carried: new Set(),
    served: new Set(),
    handshakes: options.handshakes,
    nested: new Set(),
    ownWorkload,
    awaitOwnWorkload: () =>
      waitForWorkload(mesh, ownWorkload, {
        limitMilliseconds: settings.ownWaitMilliseconds,
        description: `the pod ${info.namespace}/${info.name}`,
      }),
    certificate,
    tracker: new ConnectionTracker(mesh, (authorization, tracked) =>
      reportDecision(logger, settings.policyInfoLogging, authorization, tracked),
    ),
    pool: new SessionPool({
      engine,
      namespace,
      maximumStreams: settings.maximumStreams,
      onPlannedLeft: () => engine.takeBack(),
      onWaits: (peer) => reportUnread(logger, info, peer),
      releaseMilliseconds: settings.releaseMilliseconds,
      connectTimeoutMilliseconds: settings.connectTimeoutMilliseconds,
      context: (target) => {
        const identity = parseIdentity(target.sourceIdentity);
        const workload = ownWorkload();
        if (
          workload === undefined ||
          identity === undefined ||
          identityUriOf(workload) !== target.sourceIdentity
        ) {
          throw new KmeshError(
            'KMESH_TUNNEL_IDENTITY',
            `the pod no longer has the identity ${target.sourceIdentity} that the connection started with`,
          );
        }
        const made = (issued: TunnelCertificate) => ownContext(options.tls, issued);
        const issued = certificate(workload);
        return issued instanceof Promise ? issued.then(made) : made(issued);
      },
      isRevoked: (own) => options.tls.isRevoked(own),
      isRevokedSince: (revision, chain) => options.tls.isRevokedSince(revision, chain),
    }),
  };
  return context;
}

function identityOf(workload: Workload): import('@kmesh/api').Identity {
  const { trustDomain, namespace, serviceAccount } = workload;
  return { trustDomain, namespace, serviceAccount };
}

function reportDecision(
  logger: Logger,
  atInfo: boolean,
  authorization: Authorization,
  tracked: TrackedConnection,
): void {
  const { notes } = authorization;
  if (notes.length === 0 && !atInfo) return;
  const write = atInfo ? logger.info.bind(logger) : logger.debug.bind(logger);
  for (const note of notes) {
    const say =
      note.kind === 'unknownPolicy' || note.kind === 'unknownField' ? logger.warn.bind(logger) : write;
    say('authorization note', { kind: note.kind, policy: note.policy, workload: tracked.workload.uid });
  }
  if (atInfo) {
    write('authorization', {
      allowed: authorization.allowed,
      reason: authorization.reason,
      policy: authorization.policy,
    });
  }
}
