/**
 * New connections through the tunnel from two pods to one server, one request each: one pod's connections are handed
 * off by the connect hook, the other's captured by NAT rules. Interleaved. CPU time is the lab's, with the kernel's
 * share.
 */
import { createLab, type MeshPod, startMesh } from '@kmesh/lab';
import { processorTime } from './harness/processor-time.ts';
import { atLeast, atMost, environment, figure, type Report } from './harness/report.ts';
import { rounds } from './harness/settings.ts';

const ROUNDS = rounds(7);
const CONNECTIONS = 4_000;
const CONCURRENCY = 16;

interface Round {
  readonly rate: number;
  readonly microseconds: number;
  readonly p99: number;
}

/** The suite `handoff`. */
export async function suite(): Promise<Report> {
  await using lab = await createLab();
  const [first] = [await lab.node(), await lab.node(), await lab.node()];
  await using mesh = await startMesh(lab, {
    kernelPath: true,
    redirect: { variant: 'iptables' },
    environment: ({ name, cgroup }) => ({
      KMESH_CGROUP: cgroup,
      KMESH_HANDOFF: String(name === first.name),
      RUST_LOG: 'warn',
    }),
  });
  const handed = await mesh.pod({ name: 'handed' }, 0);
  const captured = await mesh.pod({ name: 'captured' }, 1);
  const server = await mesh.pod({ name: 'server' }, 2);
  await server.pod.serve({ port: 8080, mode: 'http' });
  const to = `${server.pod.addresses.v4}:8080`;
  const run = async ({ pod }: MeshPod): Promise<Round> => {
    const before = processorTime(lab.cgroup);
    const dialled = await pod.dial({ to, mode: 'http', connections: CONNECTIONS, concurrency: CONCURRENCY });
    if (dialled.failed > 0) throw new Error(`${pod.name}: ${JSON.stringify(dialled.failures)}`);
    return {
      rate: CONNECTIONS / (dialled.elapsedNs / 1e9),
      microseconds: ((processorTime(lab.cgroup) - before) / CONNECTIONS) * 1e3,
      p99: (dialled.latencyNs?.p99 ?? 0) / 1e3,
    };
  };
  const contestants = { handed, captured };
  const rounds: Record<keyof typeof contestants, Round[]> = { handed: [], captured: [] };
  for (const pod of Object.values(contestants)) await run(pod);
  for (let round = 0; round < ROUNDS; round++) {
    const order = round % 2 === 0 ? (['handed', 'captured'] as const) : (['captured', 'handed'] as const);
    for (const name of order) rounds[name].push(await run(contestants[name]));
  }
  const of = (name: keyof typeof contestants, field: keyof Round) =>
    rounds[name].map((round) => round[field]);
  const figures = (['handed', 'captured'] as const).flatMap((name) => [
    figure('new connections', name, 'connections/s', of(name, 'rate')),
    figure('processor time', name, 'us/connection', of(name, 'microseconds')),
    figure('p99', name, 'us', of(name, 'p99')),
  ]);
  const value = (index: number): number => figures[index]?.value ?? Number.NaN;
  return {
    suite: 'handoff',
    environment: environment(),
    figures,
    ratios: [
      atLeast('new connections/s, handed / captured', value(0) / value(3), 1),
      atMost('processor time, handed / captured', value(1) / value(4), 1),
    ],
  };
}
