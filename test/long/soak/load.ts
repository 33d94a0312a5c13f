import { setTimeout as delay } from 'node:timers/promises';
import { KmeshError } from '@kmesh/api';
import { type DialReport, endpointText, type LabMesh, type Pod, workloadOf } from '@kmesh/lab';
import type { serveRandomEndings } from '@kmesh/lab/testing/tunnel/random-endings.ts';

/** Counts of one lane: completed operations and unexplained failures. */
export interface LaneCount {
  done: number;
  /** Failures that the current fault explains. */
  explained: number;
  readonly unexplained: string[];
}

/** A kind of traffic. */
export interface Lane {
  readonly name: string;
  /** Runs a few operations. Returns the number completed, and the failures as sentences. */
  round(): Promise<{ readonly done: number; readonly failures: readonly string[] }>;
  /** Returns whether a current fault explains a failure. */
  isExplained(failure: string): boolean;
  readonly count: LaneCount;
}

const CONNECTIONS = 24;
const PAUSE_MILLISECONDS = 150;

export function lane(name: string, parts: Pick<Lane, 'round'> & Partial<Pick<Lane, 'isExplained'>>): Lane {
  const count = { done: 0, explained: 0, unexplained: [] };
  return { name, isExplained: () => false, ...parts, count };
}

/** Short connections to addresses and ports, each with one HTTP request. */
export function dials(client: Pod, to: readonly string[]): Lane['round'] {
  return async () => {
    const options = { to, mode: 'http', connections: CONNECTIONS, concurrency: 3 } as const;
    const report = await client.dial(options);
    return { done: report.connections - report.failed, failures: failuresOf(report) };
  };
}

export function failuresOf(report: DialReport): string[] {
  return report.failures.flatMap(({ step, reason, target, count }) =>
    Array.from({ length: count }, () => `${target}: ${step}: ${reason}`),
  );
}

/** Exchanges with a waypoint that ends streams in every way; each asserts its bytes and its end. */
export function endings(
  waypoint: Awaited<ReturnType<typeof serveRandomEndings>>,
  client: Pod,
): Lane['round'] {
  return async () => {
    const failures: string[] = [];
    let done = 0;
    for (let index = 0; index < 6; index++) {
      await waypoint.exchange(client).then(
        () => done++,
        (error: Error) => failures.push(error.message.replaceAll('\n', ' ')),
      );
    }
    return { done, failures };
  };
}

/** Names repeat, as in a StatefulSet: series of removed pods are kept for 15 minutes and would look like a leak. */
const NAMES = 24;

let pods = 0;

/** A pod is created, gets a connection, opens one, and is deleted. */
export function churn(mesh: LabMesh, client: Pod, server: string): Lane['round'] {
  return async () => {
    const node = pods++ % mesh.nodes.length;
    const place = mesh.node(node);
    const name = `churn-${pods % NAMES}`;
    const pod = await place.node.pod({ name, serviceAccount: `sa-${name}` });
    const workload = workloadOf(pod, { protocol: 'HBONE' });
    try {
      await mesh.apply(workload);
      // Without a proxy, or if the proxy ends meanwhile, the pod is in the next one's snapshot.
      if ((await answerOf(place.agent.addPod(pod))) === 'pending') await place.agent.whenReady();
      await pod.serve({ port: 8080, mode: 'http' });
      const to = endpointText(pod.addresses[pods % 4 < 2 ? 'v4' : 'v6'], 8080);
      const reports = [
        await client.dial({ to, mode: 'http', connections: 8, concurrency: 2 }),
        await pod.dial({ to: server, mode: 'http', connections: 8, concurrency: 2 }),
      ];
      return {
        done: reports.reduce((sum, { connections, failed }) => sum + connections - failed, 0),
        failures: reports.flatMap(failuresOf),
      };
    } finally {
      await answerOf(place.agent.removePod(pod));
      mesh.istiod.update([{ kind: 'removeWorkload', uid: workload.uid }]);
      place.node.removePod(pod);
    }
  };
}

/** The proxy's answer to the CNI agent; `pending` if the connection ended before it. */
async function answerOf<Answer>(request: Promise<Answer>): Promise<Answer | 'pending'> {
  return await request.catch((error: unknown) => {
    if (error instanceof KmeshError && error.code === 'KMESH_LAB_ZDS') return 'pending';
    throw error;
  });
}

/** Runs every lane until `until` resolves, and then until each has ended its round. */
export async function runLanes(lanes: readonly Lane[], until: Promise<unknown>): Promise<void> {
  const stopping = new AbortController();
  const stop = until.finally(() => stopping.abort());
  const running = lanes.map(async ({ round, isExplained, count }) => {
    while (!stopping.signal.aborted) {
      const { done, failures } = await round();
      count.done += done;
      for (const failure of failures) {
        if (isExplained(failure)) count.explained++;
        else count.unexplained.push(failure);
      }
      await delay(PAUSE_MILLISECONDS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  });
  await Promise.all([stop, ...running]);
}
