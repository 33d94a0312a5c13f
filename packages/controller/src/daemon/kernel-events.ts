import { inboundService, kmeshEventLayout, type MeshState, servicesOfWorkload } from '@kmesh/orchestration';
import { type ConnectionObserver, KernelConnections } from '@kmesh/probe';
import { EventRing } from '@kmesh/runtime';
import type { KernelEnrolment } from './kernel-enrolment.ts';
import type { KernelPath } from './kernel-path.ts';

/** The kernel's connection events while they are read. */
export interface KernelEvents {
  /** Connections of the kernel path that are open now. */
  readonly open: () => number;
  readonly lost: () => number;
  readonly reconciled: () => number;
  close(): void;
}

/** Reads the event ring and reports what happens on the kernel path to the observer. */
export function readKernelEvents(
  path: KernelPath,
  state: MeshState,
  network: string,
  enrolment: KernelEnrolment,
  observer: ConnectionObserver,
): KernelEvents {
  const { tables, object } = path;
  const workloadOf = (uid: string | undefined) => (uid === undefined ? undefined : state.workload(uid));
  const connections = new KernelConnections({
    observer,
    resolver: {
      podWorkload: (cookie) => workloadOf(enrolment.workloadUidOf(BigInt(cookie))),
      workload: (id) => workloadOf(tables.workloadUid(id)),
      service: (id) => {
        const key = tables.serviceKey(id);
        return key === undefined ? undefined : state.service(key);
      },
      workloadByAddress: (ip) => state.workloadByAddress(network, ip),
      inboundService: (destination, port) =>
        inboundService(destination, servicesOfWorkload(state, destination), port, undefined),
    },
  });
  const ring = new EventRing(object.map('events'), {
    recordSize: kmeshEventLayout.size,
    losses: object.map('events_lost'),
    onBatch: ({ bytes, count }) => connections.batch(bytes, count),
  });
  return {
    open: () => connections.open,
    lost: () => ring.counters.losses,
    reconciled: () => connections.reconciled,
    close: () => {
      ring.close();
      connections.close();
    },
  };
}
