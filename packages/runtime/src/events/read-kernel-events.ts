import type { Logger } from '@kmesh/api';
import { type BpfMap, EventRing } from '@kmesh/linux';
import type { MeshState } from '@kmesh/orchestration';
import type { ConnectionObserver } from '@kmesh/probe';
import type { KernelEnrolment } from '../pods/kernel-enrolment.ts';
import type { KernelPath } from '../programs/kernel-path.ts';
import { readPerCpuCounters } from '../tables/counters.ts';
import { kmeshEventLayout } from '../tables/gen/layouts.ts';
import { KernelConnections } from './kernel-connections.ts';
import { createKernelResolver } from './kernel-resolver.ts';
import { LiveFlowReports, liveFlowsObstacles } from './live-flows.ts';

/** The reader of the kernel's connection events. */
export interface KernelEvents {
  /** Number of open connections of the kernel path. */
  readonly open: () => number;
  readonly lost: () => number;
  readonly reconciled: () => number;
  /** Number of refusals that were counted but not reported. */
  readonly refusalsUnreported: () => number;
  close(): Promise<void>;
}

/** Inputs and listeners of {@link readKernelEvents}. */
interface KernelEventsOptions {
  readonly path: KernelPath;
  readonly state: MeshState;
  readonly network: string;
  readonly enrolment: Pick<KernelEnrolment, 'workloadUidOf' | 'serves' | 'wasDenied'>;
  readonly observer: ConnectionObserver;
  /** Whether openings are logged, since the kernel reports them only then. Read once a second. */
  readonly logsOpenings: () => boolean;
  readonly logger: Logger;
}

/**
 * Source addresses of the node's own health probes, which bypass capture and belong to no workload (ambient contract
 * 11.1).
 */
const probeSources: ReadonlySet<string> = new Set([
  '169.254.7.127',
  'fd16:9254:7127:1337:ffff:ffff:ffff:ffff',
]);

/** Maximum time spent on remaining events when the daemon ends. */
const maximumDrainMilliseconds = 250;

/** Reads the event ring and the live flows, and reports the connections of the kernel path to the observer. */
export function readKernelEvents(options: KernelEventsOptions): KernelEvents {
  const { path, state, network, enrolment, observer, logger } = options;
  const { tables, object } = path;
  const connections = new KernelConnections({
    observer,
    wasDenied: (socketCookie) => enrolment.wasDenied(socketCookie),
    onUnreachable: (workload, port) =>
      logger.warn(
        'the network of this node blocks a port: connections to it take the tunnel path for a while; look for a NetworkPolicy that admits port 15008 only',
        { workload: tables.workloadUid(workload), port },
      ),
    resolver: createKernelResolver({
      view: state,
      tables,
      network,
      podWorkload: (cookie, time) => state.workloadAt(enrolment.workloadUidOf(BigInt(cookie)) ?? '', time),
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
  const stopFollowing = followLog(options, reports === undefined);
  return {
    open: () => connections.open,
    lost: () => ring.counters.losses,
    reconciled: () => connections.reconciled,
    refusalsUnreported: () => unreportedRefusals(object.map('refusals_lost')),
    close: async () => {
      stopFollowing();
      await drain(ring);
      await reports?.takeLast().catch(() => undefined);
      await drain(ring);
      reports?.close();
      ring.close();
      connections.close(path.pins !== undefined);
      logger.debug('stopped reading kernel events', { lost: ring.counters.losses });
    },
  };
}

/** Enables opening events while openings are logged, and always if live flows cannot be read. */
function followLog({ path, logsOpenings }: KernelEventsOptions, always: boolean): () => void {
  const follow = () => path.tables.setEvents(always || logsOpenings() ? 'all' : 'ends');
  follow();
  const timer = setInterval(follow, 1000);
  timer.unref();
  return () => clearInterval(timer);
}

function startReports(
  { path, logger }: KernelEventsOptions,
  connections: KernelConnections,
): LiveFlowReports | undefined {
  const obstacles = liveFlowsObstacles();
  if (obstacles.length > 0) {
    logger.warn(
      'live flows cannot be read: kernel path connections are counted only when they close, and lost events are not recovered',
      {
        error: obstacles.join('; '),
      },
    );
    return undefined;
  }
  return new LiveFlowReports({
    object: path.object,
    connections,
    generation: generationOfThisRun(),
    isObserving: path.isObserving,
    onError: (error) =>
      logger.error('live kernel path connections could not be read', { error: String(error) }),
  });
}

/** Handles the events left in the ring, for a limited time, since programs continue writing. */
async function drain(ring: EventRing): Promise<void> {
  const deadline = performance.now() + maximumDrainMilliseconds;
  for (let empty = 0; empty < 2 && performance.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    empty = ring.counters.pending === 0 ? empty + 1 : 0;
  }
}

/** Returns a number that differs between two successive daemons of a node. */
function generationOfThisRun(): number {
  return (Math.floor(Date.now() / 100) % 0xffff) + 1;
}

function unreportedRefusals(map: BpfMap): number {
  return Number(readPerCpuCounters(map, { lost: 0 }).lost);
}
