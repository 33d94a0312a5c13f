import type { ConnectionStart, LiveConnections } from '@kmesh/probe';

/** A pod that is served, or waits to be. */
interface StatedPod {
  readonly state: 'Up' | 'Pending';
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Uid of its workload; `undefined` while the mesh does not know it. */
  readonly workloadUid: string | undefined;
}

interface DumpedConnection {
  readonly src: string;
  /** Outbound: what the application dialled. Inbound: the host name that the client says it addressed. */
  readonly originalDst: string | null;
  /** Outbound: the next hop. Inbound: the application. */
  readonly actualDst: string;
  readonly protocol: 'TCP' | 'HBONE' | 'DOUBLEHBONE';
}

interface DumpedConnections {
  readonly inbound: DumpedConnection[];
  readonly outbound: DumpedConnection[];
}

/** `workloadState` of the config dump, connections of both paths included (ambient contract 13.7). */
export function dumpWorkloadState(
  pods: readonly StatedPod[],
  live: LiveConnections,
): Record<string, unknown> {
  const byWorkload = new Map<string, DumpedConnections>();
  for (const pod of pods) {
    if (pod.workloadUid !== undefined) byWorkload.set(pod.workloadUid, { inbound: [], outbound: [] });
  }
  for (const start of live.starts()) {
    const outbound = start.reporter === 'source';
    const connections = byWorkload.get((outbound ? start.source : start.destination)?.uid ?? '');
    connections?.[outbound ? 'outbound' : 'inbound'].push(dumpConnection(start));
  }
  return Object.fromEntries(
    pods.map(({ uid, workloadUid, state, ...info }) => {
      const connections = byWorkload.get(workloadUid ?? '') ?? { inbound: [], outbound: [] };
      return [uid, state === 'Pending' ? { state, info } : { state, connections, info }];
    }),
  );
}

function dumpConnection(start: ConnectionStart): DumpedConnection {
  return {
    src: start.sourceAddress,
    originalDst:
      start.reporter === 'source'
        ? (start.dialledAddress ?? start.destinationAddress)
        : (start.forwardedHost ?? null),
    actualDst: start.applicationAddress ?? start.destinationAddress,
    protocol: protocolOf(start),
  };
}

function protocolOf(start: ConnectionStart): DumpedConnection['protocol'] {
  if (start.securityPolicy !== 'mutual_tls') return 'TCP';
  // Only a call through a network gateway has an inner identity of its own.
  return start.reporter === 'source' && start.destinationIdentity !== undefined ? 'DOUBLEHBONE' : 'HBONE';
}
