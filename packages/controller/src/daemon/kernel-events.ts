import type { Logger } from '@kmesh/api';
import { kmeshEventLayout, liveFlowsObstacles, type MeshState } from '@kmesh/orchestration';
import {
  type ConnectionObserver,
  createKernelResolver,
  KernelConnections,
  LiveFlowReports,
} from '@kmesh/probe';
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

/** What {@link readKernelEvents} reads and tells. */
export interface KernelEventsOptions {
  readonly path: KernelPath;
  readonly state: MeshState;
  readonly network: string;
  readonly enrolment: Pick<KernelEnrolment, 'workloadUidOf' | 'serves'>;
  readonly observer: ConnectionObserver;
  readonly logger: Logger;
}

/** Source addresses of the node's own health probes, which pass capture and are nobody's traffic (ambient contract 11.1). */
const probeSources: ReadonlySet<string> = new Set([
  '169.254.7.127',
  'fd16:9254:7127:1337:ffff:ffff:ffff:ffff',
]);

/** Reads the event ring and the live flows, and reports what happens on the kernel path to the observer. */
export function readKernelEvents(options: KernelEventsOptions): KernelEvents {
  const { path, state, network, enrolment, observer, logger } = options;
  const { tables, object } = path;
  const connections = new KernelConnections({
    observer,
    since: Number(process.hrtime.bigint()),
    resolver: createKernelResolver({
      view: state,
      tables,
      network,
      podWorkload: (cookie) => state.workload(enrolment.workloadUidOf(BigInt(cookie)) ?? ''),
      arrivedDirectly: (_cookie, clientAddress) => !probeSources.has(clientAddress),
      isServedHere: ({ uid }) => enrolment.serves(uid),
    }),
  });
  const ring = new EventRing(object.map('events'), {
    recordSize: kmeshEventLayout.size,
    losses: object.map('events_lost'),
    onBatch: ({ bytes, count }) => connections.batch(bytes, count),
  });
  const reports = startReports(options, connections);
  return {
    open: () => connections.open,
    lost: () => ring.counters.losses,
    reconciled: () => connections.reconciled,
    close: () => {
      reports?.close();
      ring.close();
      connections.close();
      logger.debug('kernel events are no longer read', { lost: ring.counters.losses });
    },
  };
}

function startReports(
  { path, logger }: KernelEventsOptions,
  connections: KernelConnections,
): LiveFlowReports | undefined {
  const obstacles = liveFlowsObstacles();
  if (obstacles.length > 0) {
    logger.warn('kernel path connections are counted when they close, not before; a lost event stays lost', {
      error: obstacles.join('; '),
    });
    return undefined;
  }
  return new LiveFlowReports({
    object: path.object,
    connections,
    onError: (error) => logger.error('live kernel connections could not be read', { error: String(error) }),
  });
}
