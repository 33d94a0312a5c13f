import type { Workload } from '@kmesh/api';
import {
  describeAuthorization,
  formatIdentityUri,
  formatSocketAddress,
  forwardedHost,
  INBOUND_STATUS,
  type InboundAccepted,
  inboundService,
  inboundSourceWorkload,
  resolveInbound,
} from '@kmesh/orchestration';
import type { ConnectionStart } from '@kmesh/probe';
import type { Request } from '../engine/events.ts';
import type { FlowConnect } from '../engine/native.ts';
import type { Plan } from '../engine/plans.ts';
import { cachedBaggage } from '../outbound/request-fields.ts';
import { Carried, denyEarly, recordPassed, startOf } from '../pod/carried.ts';
import { type Asked, asksFirst, missingOf, NOTHING_ASKED, reportTo } from '../pod/demand.ts';
import type { PodContext } from '../pod/pod-context.ts';
import type { ServedSession } from '../pod/served-session.ts';
import type { TrackedConnection } from './connection-tracker.ts';
import { proxyHeader } from './proxy-protocol.ts';

/** Serves one request of an HBONE connection into the pod: the validation table of contract 6.6. */
export function serveRequest(pod: PodContext, session: ServedSession, request: Request): void {
  if (!pod.share.admits()) {
    pod.counters.shareExceeded(pod.info);
    pod.engine.rejectFlow(request.flow, INBOUND_STATUS.unavailable);
    return;
  }
  const workload = pod.ownWorkload();
  if (workload !== undefined) {
    validate(pod, session, request, workload);
    return;
  }
  pod.awaitOwnWorkload().then(
    (known) => validate(pod, session, request, known),
    (error: Error) => refuse(pod, session, request, INBOUND_STATUS.unavailable, error.message),
  );
}

function refuse(
  pod: PodContext,
  session: ServedSession,
  request: Request,
  status: number,
  error: string,
): void {
  const { peer, local } = session.accepted;
  const where = {
    source: formatSocketAddress(peer.ip, peer.port),
    destination: formatSocketAddress(local.ip, local.port),
    reporter: 'destination',
    isStream: true,
  } as const;
  denyEarly(pod, request.flow, where, error, status);
}

function validate(
  pod: PodContext,
  session: ServedSession,
  request: Request,
  workload: Workload,
  asked = NOTHING_ASKED,
): void {
  const { version } = pod.engine;
  const missing = missingOf(pod);
  if (session.retired !== undefined) {
    refuse(pod, session, request, INBOUND_STATUS.unavailable, session.retired);
    return;
  }
  const resolved = resolveInbound(pod.mesh, pod.node, {
    method: request.method,
    authority: request.authority,
    destination: session.accepted.local,
    workload,
    localhostApplicationTunnel: pod.settings.localhostApplicationTunnel,
    illegalPorts: pod.settings.illegalPorts,
    ...reportTo(missing),
  });
  const later = {
    again: (names: Asked) => validate(pod, session, request, pod.ownWorkload() ?? workload, names),
    refuse: (reason: string) => refuse(pod, session, request, INBOUND_STATUS.unavailable, reason),
  };
  if (asksFirst(pod, missing, asked, later)) return;
  if (resolved.kind === 'refused') {
    refuse(pod, session, request, resolved.status, resolved.message);
    return;
  }
  const carried = openRecord(pod, session, request, workload, resolved);
  const tracked = track(pod, session, resolved, workload, carried);
  const authorization = pod.tracker.admit(tracked);
  if (!authorization.allowed) {
    carried.refuse({ flag: 'DENY', error: describeAuthorization(authorization) }, INBOUND_STATUS.denied);
    return;
  }
  carried.application = formatSocketAddress(resolved.connect.ip, resolved.connect.port);
  const target = connectTarget(pod, session, workload, resolved);
  // Per-connection outputs require per-connection decisions.
  if (target.prefix !== undefined || authorization.notes.length > 0 || !pod.mayPlan()) {
    pod.engine.connectFlow(request.flow, target);
    return;
  }
  pod.engine.connectFlows(request.flow, target, version, planFor(pod, session, resolved, tracked, carried));
}

/** Creates the entry by which policies judge the connection until it ends. */
function track(
  pod: PodContext,
  session: ServedSession,
  { target }: InboundAccepted,
  workload: Workload,
  carried: Carried,
): TrackedConnection {
  const tracked: TrackedConnection = {
    connection: {
      identity: session.identity,
      sourceIp: session.accepted.peer.ip,
      destinationIp: target.ip,
      destinationPort: target.port,
    },
    workload,
    deny: (error) => carried.cut({ flag: 'DENY', error: `closed after a policy change: ${error}` }),
  };
  session.carried.add(carried);
  carried.onClosed = () => {
    pod.tracker.remove(tracked);
    session.carried.delete(carried);
  };
  return tracked;
}

/**
 * Creates a plan for requests of the session that are similar to `first`. The tracker learns of connections that the
 * engine admits; if the mesh has changed since, they are judged by the current state.
 */
function planFor(
  pod: PodContext,
  session: ServedSession,
  resolved: InboundAccepted,
  first: TrackedConnection,
  { start, dump, application }: Carried,
): Plan {
  const { workload } = first;
  const madeAt = performance.now();
  return {
    served: ({ flow, milliseconds }, stale) => {
      const carried = new Carried(pod, flow, { ...start, startedAt: startOf(milliseconds) }, dump, true);
      carried.application = application;
      const now = stale ? (pod.mesh.workload(workload.uid) ?? workload) : workload;
      const tracked = track(pod, session, resolved, now, carried);
      if (stale) {
        const authorization = pod.tracker.admit(tracked);
        if (!authorization.allowed) tracked.deny(describeAuthorization(authorization));
      } else {
        pod.tracker.add(tracked);
      }
      pod.reviewPlans(madeAt);
    },
    passed: (passed) => {
      recordPassed(pod, start, passed);
      pod.reviewPlans(madeAt);
    },
  };
}

function openRecord(
  pod: PodContext,
  session: ServedSession,
  request: Request,
  workload: Workload,
  resolved: InboundAccepted,
): Carried {
  const { peer, local } = session.accepted;
  const host = forwardedHost(request.forwarded);
  const derivedSource = pod.settings.responseBaggage
    ? pod.peers.of(request.baggage, session.identity, session.baggage)
    : undefined;
  session.baggage ??= derivedSource;
  const sourceAddress = formatSocketAddress(peer.ip, peer.port);
  const start: ConnectionStart = {
    reporter: 'destination',
    path: 'tunnel',
    pathReason: 'hbone',
    sourceAddress,
    destinationAddress: formatSocketAddress(local.ip, local.port),
    applicationAddress: formatSocketAddress(resolved.target.ip, resolved.target.port),
    forwardedHost: host,
    hboneAddress: request.authority,
    source: inboundSourceWorkload(pod.mesh, pod.node, peer.ip, request.forwardedNetwork),
    derivedSource,
    destination: workload,
    destinationService: inboundService(workload, resolved.candidates, resolved.matchPort, host),
    sourceIdentity: session.identity,
    securityPolicy: 'mutual_tls',
  };
  const dump = {
    direction: 'inbound',
    source: sourceAddress,
    destination: request.authority,
    protocol: 'HBONE',
  } as const;
  return new Carried(pod, request.flow, start, dump, true);
}

function connectTarget(
  pod: PodContext,
  session: ServedSession,
  workload: Workload,
  resolved: InboundAccepted,
): FlowConnect {
  const { peer } = session.accepted;
  let prefix: Uint8Array | undefined;
  if (resolved.proxyHeaderDestination !== undefined) {
    const identity = session.identity === undefined ? undefined : formatIdentityUri(session.identity);
    prefix = proxyHeader(peer, resolved.proxyHeaderDestination, identity);
  }
  const keep = pod.preserveSource && resolved.preserveSource && peer.ip !== resolved.connect.ip;
  // A PROXY tunnel on loopback needs a loopback source, whatever address the pod's routes would select.
  const source = keep ? peer.ip : resolved.preserveSource ? '' : loopbackSource(resolved.connect.ip);
  return {
    namespace: pod.namespace,
    ip: resolved.connect.ip,
    port: resolved.connect.port,
    withinPod: true,
    source,
    sourceRequired: keep && pod.settings.originalSource === true,
    timeoutMilliseconds: pod.settings.connectTimeoutMilliseconds,
    prefix,
    responseFields: pod.settings.responseBaggage ? `baggage\0${cachedBaggage(workload)}` : undefined,
    failureStatus: INBOUND_STATUS.unavailable,
  };
}

function loopbackSource(destination: string): string {
  return destination === '::1' || destination.startsWith('127.') ? destination : '';
}
