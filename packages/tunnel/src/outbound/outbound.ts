import type { KmeshError, Workload } from '@kmesh/api';
import {
  chooseResolvedAddress,
  type DoubleHboneDecision,
  formatSocketAddress,
  type HboneDecision,
  parseIdentity,
  resolveOutbound,
  type TcpDecision,
  withResolvedAddress,
} from '@kmesh/orchestration';
import type { ConnectionStart, RoutedConnection } from '@kmesh/probe';
import { type Accepted, revokedEnd, type SessionEnd } from '../engine/events.ts';
import { sessionEndReason } from '../engine/gen/kinds.ts';
import { type Failure, sessionFailure } from '../failure.ts';
import type { TunnelCertificate } from '../options.ts';
import { Carried, denyEarly, recordPassed, socketOpened, startOf } from '../pod/carried.ts';
import { type Asked, asksFirst, missingOf, NOTHING_ASKED, reportTo } from '../pod/demand.ts';
import type { NestedSession, PodContext } from '../pod/pod-context.ts';
import {
  type OwnContext,
  ownCertificateRevoked,
  ownContext,
  type PoolAnswer,
  type PooledSession,
} from './pool.ts';
import { cachedIdentityUri, connectFields, connectFieldsAroundPort } from './request-fields.ts';

/** Maximum number of tries, when connections turn out to be closing or dead. */
const MAXIMUM_TRIES = 4;

/** Serves one connection that was captured on its way out of the pod (contract 7.2). */
export function serveOutbound(pod: PodContext, accepted: Accepted): void {
  socketOpened(pod, 'source');
  const workload = pod.ownWorkload();
  if (workload !== undefined) {
    route(pod, accepted, workload);
    return;
  }
  pod.awaitOwnWorkload().then(
    (known) => route(pod, accepted, known),
    (error: Error) => refuse(pod, accepted, error.message),
  );
}

function refuse(pod: PodContext, accepted: Accepted, error: string, routed?: RoutedConnection): void {
  const where = {
    source: formatSocketAddress(accepted.peer.ip, accepted.peer.port),
    destination: formatSocketAddress(accepted.original.ip, accepted.original.port),
    reporter: 'source',
    routed,
  } as const;
  denyEarly(pod, accepted.id, where, error);
}

function route(pod: PodContext, accepted: Accepted, source: Workload, asked = NOTHING_ASKED): void {
  const { version } = pod.engine;
  const missing = missingOf(pod);
  let drawn = false;
  const decision = resolveOutbound(
    pod.mesh,
    {
      source,
      clientIp: accepted.peer.ip,
      destination: accepted.original,
      illegalPorts: pod.settings.illegalPorts,
      pick: pod.pickOf(accepted.pick),
    },
    {
      random: () => {
        drawn = true;
        return Math.random();
      },
      ...reportTo(missing),
    },
  );
  const later = {
    again: (names: Asked) => route(pod, accepted, pod.ownWorkload() ?? source, names),
    refuse: (reason: string) => refuse(pod, accepted, reason),
  };
  if (asksFirst(pod, missing, asked, later)) return;
  if (decision.kind === 'refused') {
    refuse(pod, accepted, decision.message, decision.route);
    return;
  }
  if (decision.kind !== 'resolveHostname') {
    send(pod, accepted, source, decision, drawn ? undefined : version);
    return;
  }
  pod.counters.onDemandDns(source, decision.hostname);
  pod.resolveHostname(decision.hostname).then(
    (addresses) => {
      const ip = chooseResolvedAddress(addresses, decision.preferredFamily);
      if (ip === undefined) refuse(pod, accepted, `host name ${decision.hostname} has no address`);
      else send(pod, accepted, source, withResolvedAddress(decision, ip));
    },
    (error: Error) =>
      refuse(pod, accepted, `host name ${decision.hostname} was not resolved: ${error.message}`),
  );
}

function send(
  pod: PodContext,
  accepted: Accepted,
  source: Workload,
  decision: TcpDecision | HboneDecision | DoubleHboneDecision,
  /** Version of the decision's inputs, if the decision applies to all similar connections. */
  version?: number,
): void {
  const tunnelled = decision.kind !== 'tcp';
  const sourceAddress = formatSocketAddress(accepted.peer.ip, accepted.peer.port);
  const destinationAddress = formatSocketAddress(decision.nextHop.ip, decision.nextHop.port);
  const start: ConnectionStart = {
    reporter: 'source',
    path: 'tunnel',
    pathReason:
      decision.kind === 'tcp' ? 'passthrough' : decision.kind === 'hbone' ? 'hbone' : 'double_hbone',
    sourceAddress,
    destinationAddress,
    dialledAddress: formatSocketAddress(accepted.original.ip, accepted.original.port),
    hboneAddress: tunnelled ? decision.authority : undefined,
    source,
    destination: decision.workload,
    destinationService: decision.service,
    routed: decision.route,
    sourceIdentity: tunnelled ? source : undefined,
    securityPolicy: tunnelled ? 'mutual_tls' : 'unknown',
  };
  const dump = {
    direction: 'outbound',
    source: sourceAddress,
    destination: formatSocketAddress(accepted.original.ip, accepted.original.port),
    protocol: decision.kind === 'tcp' ? 'TCP' : decision.kind === 'hbone' ? 'HBONE' : 'DOUBLEHBONE',
  } as const;
  const carried = new Carried(pod, accepted.id, start, dump, tunnelled);
  if (decision.kind === 'tcp') {
    pod.engine.connectFlow(accepted.id, {
      namespace: pod.namespace,
      ip: decision.nextHop.ip,
      port: decision.nextHop.port,
      timeoutMilliseconds: pod.settings.connectTimeoutMilliseconds,
    });
    return;
  }
  tunnelFlow(pod, accepted, source, decision, carried, 1, version);
}

/** Finds or opens the session, and sends the flow on it. */
function tunnelFlow(
  pod: PodContext,
  accepted: Accepted,
  source: Workload,
  decision: HboneDecision | DoubleHboneDecision,
  carried: Carried,
  tries: number,
  version?: number,
): void {
  const target = {
    sourceIdentity: cachedIdentityUri(source),
    sourceIp: accepted.peer.ip,
    acceptedIdentities: decision.acceptedIdentities,
    ip: decision.nextHop.ip,
    port: decision.nextHop.port,
  };
  pod.pool.acquire(target, (answer) => {
    if (!('session' in answer)) {
      carried.refuse(poolFailure(pod, answer, carried.start.destinationAddress), 0);
      return;
    }
    const { session } = answer;
    if (carried.ended) {
      pod.pool.release(session);
      return;
    }
    const { release, again } = occupy(pod, accepted, source, decision, carried, session, tries);
    const fields = connectFields(decision.authority, source, accepted.peer, decision.service?.hostname);
    if (decision.kind !== 'hbone') {
      nest(pod, accepted, source, decision, carried, session, { fields, release, again });
      return;
    }
    if (version !== undefined) plan(pod, accepted, source, decision, carried, session, version);
    pod.engine.requestFlow(accepted.id, session.id, fields);
  });
}

/** Occupies a stream of the session until the connection ends or must be retried. */
function occupy(
  pod: PodContext,
  accepted: Accepted,
  source: Workload,
  decision: HboneDecision | DoubleHboneDecision,
  carried: Carried,
  session: PooledSession,
  tries: number,
): { readonly release: () => void; readonly again: () => void } {
  let released = false;
  const release = (): void => {
    if (!released) pod.pool.release(session);
    released = true;
  };
  const again = (): void => {
    release();
    if (tries >= MAXIMUM_TRIES) {
      const error = `the connection to ${carried.start.destinationAddress} closed unanswered ${tries} times in a row`;
      carried.refuse({ flag: 'CONNECT', error }, 0);
      return;
    }
    tunnelFlow(pod, accepted, source, decision, carried, tries + 1);
  };
  carried.session = session;
  carried.onClosed = release;
  carried.onRetry = again;
  return { release, again };
}

/** Lets the engine send connections that equal this one, except for the client's port, the same way. */
function plan(
  pod: PodContext,
  accepted: Accepted,
  source: Workload,
  decision: HboneDecision,
  { start, dump }: Carried,
  session: PooledSession,
  version: number,
): void {
  // Decisions of a waypoint or a route, and their counts, are made per connection.
  if (decision.via !== 'workload' || decision.route !== undefined || !pod.mayPlan()) return;
  const streams = pod.pool.plan(session);
  if (streams === 0) return;
  const { ip } = accepted.peer;
  const fields = connectFieldsAroundPort(decision.authority, source, ip, decision.service?.hostname);
  const madeAt = performance.now();
  pod.engine.planRequests(accepted.id, { session: session.id, streams, ...fields }, version, {
    served: ({ flow, clientPort, milliseconds }) => {
      socketOpened(pod, 'source');
      const sourceAddress = formatSocketAddress(ip, clientPort);
      const carried = new Carried(
        pod,
        flow,
        { ...start, sourceAddress, startedAt: startOf(milliseconds) },
        { ...dump, source: sourceAddress },
        true,
      );
      pod.pool.adopt(session);
      const like = { ...accepted, id: flow, peer: { ip, port: clientPort } };
      occupy(pod, like, source, decision, carried, session, 1);
      pod.reviewPlans(madeAt);
    },
    passed: (passed) => {
      recordPassed(pod, { ...start, sourceAddress: formatSocketAddress(ip, passed.clientPort) }, passed);
      pod.pool.adopt(session);
      pod.pool.release(session);
      pod.reviewPlans(madeAt);
    },
  });
}

/** Opens the inner connection of double HBONE: never pooled, lives as long as its one stream (contract 6.9). */
function nest(
  pod: PodContext,
  accepted: Accepted,
  source: Workload,
  decision: DoubleHboneDecision,
  carried: Carried,
  outer: PooledSession,
  outside: { fields: string; release: () => void; again: () => void },
): void {
  let session: NestedSession | undefined;
  const where = `${decision.authority} behind ${carried.start.destinationAddress}`;
  const withContext = ({ handle, certificate, revision }: OwnContext): void => {
    if (carried.ended) {
      outside.release();
      return;
    }
    const inner = pod.engine.nestSession(outer.id, outside.fields, handle, decision.innerAcceptedIdentities, {
      ready: ({ peerNames, peerChain }) => {
        session = { id: inner, peerChain, where, carried };
        pod.nested.add(session);
        if (carried.ended) {
          pod.engine.drainSession(inner);
          return;
        }
        if (pod.tls.isRevokedSince(revision, peerChain)) {
          carried.refuse(handshakeFailure(pod, revokedEnd, where), 0);
          return;
        }
        if (pod.tls.isRevoked(certificate)) {
          carried.refuse(errorFailure(ownCertificateRevoked()), 0);
          return;
        }
        const destinationIdentity = firstIdentity(peerNames);
        carried.onOpened = (baggage) => {
          const derived =
            pod.settings.responseBaggage && baggage !== ''
              ? pod.peers.of([baggage], destinationIdentity)
              : undefined;
          carried.record.relabel({ destinationIdentity, derivedDestination: derived });
        };
        const hostname = decision.service?.hostname;
        const fields = connectFields(decision.authority, source, accepted.peer, hostname, pod.node.network);
        pod.engine.requestFlow(accepted.id, inner, fields, true);
      },
      closed: (end) => {
        outside.release();
        if (session !== undefined) pod.nested.delete(session);
        else if (carried.ended) return;
        else if (end.reason === sessionEndReason.carrierLost) outside.again();
        else carried.refuse(handshakeFailure(pod, end, where), 0);
      },
    });
    carried.onClosed = () => {
      if (session !== undefined) pod.engine.drainSession(inner);
      else pod.engine.abortSession(inner);
    };
    carried.onRetry = () => {
      // It goes on where it only refused this request, or allows none.
      pod.engine.drainSession(inner);
      outside.again();
    };
  };
  const failed = (error: Error): void => {
    outside.release();
    carried.refuse({ flag: 'IDENTITY_ERROR', error: error.message }, 0);
  };
  contextOf(pod, source, withContext, failed);
}

function contextOf(
  pod: PodContext,
  source: Workload,
  use: (context: OwnContext) => void,
  failed: (error: Error) => void,
): void {
  const certificate = pod.certificate(source);
  const made = (issued: TunnelCertificate) => ownContext(pod.tls, issued);
  if (!(certificate instanceof Promise)) use(made(certificate));
  else certificate.then((issued) => use(made(issued))).catch(failed);
}

function poolFailure(
  pod: PodContext,
  answer: Exclude<PoolAnswer, { session: PooledSession }>,
  where: string,
): Failure {
  if ('failed' in answer) return handshakeFailure(pod, answer.failed, where);
  return errorFailure(answer.error);
}

function errorFailure({ code, message }: KmeshError): Failure {
  if (code === 'KMESH_TUNNEL_CLOSED') return { flag: '-', error: message };
  const revoked = code === 'KMESH_TUNNEL_CERTIFICATE_REVOKED';
  return { flag: revoked ? 'CERT_REVOKED' : 'IDENTITY_ERROR', error: message };
}

/** Returns why an HBONE connection was never ready; a revoked peer is counted (contract 5). */
function handshakeFailure(pod: PodContext, end: SessionEnd, where: string): Failure {
  const failure = sessionFailure(end, where);
  if (failure.flag === 'CERT_REVOKED') pod.counters.revocationRejected('source');
  return failure;
}

/** Returns the first name that is a SPIFFE id (contract 6.1, peer identity). */
export function firstIdentity(names: readonly string[]): import('@kmesh/api').Identity | undefined {
  for (const name of names) {
    const identity = parseIdentity(name);
    if (identity !== undefined) return identity;
  }
  return undefined;
}
