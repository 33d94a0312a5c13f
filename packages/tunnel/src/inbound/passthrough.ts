import type { Workload } from '@kmesh/api';
import {
  describeAuthorization,
  formatSocketAddress,
  inboundService,
  refusePlaintext,
  servicesOfWorkload,
} from '@kmesh/orchestration';
import type { ConnectionStart } from '@kmesh/probe';
import type { Accepted } from '../engine/events.ts';
import { Carried, denyEarly, socketOpened } from '../pod/carried.ts';
import type { PodContext } from '../pod/pod-context.ts';
import type { TrackedConnection } from './connection-tracker.ts';

/** Serves one plaintext connection into the pod: policies without an identity, then the application (contract 7.6). */
export function servePlaintext(pod: PodContext, accepted: Accepted): void {
  socketOpened(pod, 'destination');
  const refused = refusePlaintext(accepted.original, pod.settings.illegalPorts);
  if (refused !== undefined) {
    refuse(pod, accepted, refused.message);
    return;
  }
  const workload = pod.ownWorkload();
  if (workload !== undefined) {
    admit(pod, accepted, workload);
    return;
  }
  pod.awaitOwnWorkload().then(
    (known) => admit(pod, accepted, known),
    (error: Error) => refuse(pod, accepted, error.message),
  );
}

function refuse(pod: PodContext, accepted: Accepted, error: string): void {
  const where = {
    source: formatSocketAddress(accepted.peer.ip, accepted.peer.port),
    destination: formatSocketAddress(accepted.original.ip, accepted.original.port),
    reporter: 'destination',
  } as const;
  denyEarly(pod, accepted.id, where, error);
}

function admit(pod: PodContext, accepted: Accepted, workload: Workload): void {
  const { peer, original } = accepted;
  const sourceAddress = formatSocketAddress(peer.ip, peer.port);
  const destinationAddress = formatSocketAddress(original.ip, original.port);
  const start: ConnectionStart = {
    reporter: 'destination',
    path: 'tunnel',
    pathReason: 'passthrough',
    sourceAddress,
    destinationAddress,
    source: pod.mesh.workloadByAddress(pod.node.network, peer.ip),
    destination: workload,
    destinationService: inboundService(
      workload,
      servicesOfWorkload(pod.mesh, workload),
      original.port,
      undefined,
    ),
    securityPolicy: 'unknown',
  };
  const dump = {
    direction: 'inbound',
    source: sourceAddress,
    destination: destinationAddress,
    protocol: 'TCP',
  } as const;
  const carried = new Carried(pod, accepted.id, start, dump, false);
  const tracked: TrackedConnection = {
    connection: {
      // Not derived from an address: plaintext proves no identity (conformance NEG-02).
      identity: undefined,
      sourceIp: peer.ip,
      destinationIp: original.ip,
      destinationPort: original.port,
    },
    workload,
    deny: (error) => carried.cut({ flag: 'DENY', error: `closed after a policy change: ${error}` }),
  };
  carried.onClosed = () => pod.tracker.remove(tracked);
  const authorization = pod.tracker.admit(tracked);
  if (!authorization.allowed) {
    carried.refuse({ flag: 'DENY', error: describeAuthorization(authorization) }, 0);
    return;
  }
  const keep = pod.preserveSource && peer.ip !== original.ip;
  pod.engine.connectFlow(accepted.id, {
    namespace: pod.namespace,
    ip: original.ip,
    port: original.port,
    withinPod: true,
    source: keep ? peer.ip : '',
    sourceRequired: keep && pod.settings.originalSource === true,
    timeoutMilliseconds: pod.settings.connectTimeoutMilliseconds,
  });
}
