/**
 * New connections through the tunnel from two pods to one server, one request each: one pod's connections are handed over
 * by the connect hook, the other's captured by NAT rules. Interleaved; processor time is the whole machine's.
 */
import { readFileSync } from 'node:fs';
import { createLab, type MeshPod, startMesh } from '@kmesh/lab';
import { atLeast, atMost, environment, figure, type Report } from './report.ts';

const ROUNDS = 7;
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
    environment: ({ name }) => ({ KMESH_HANDOFF: String(name === first.name), RUST_LOG: 'warn' }),
  });
  const handed = await mesh.pod({ name: 'handed' }, 0);
  const captured = await mesh.pod({ name: 'captured' }, 1);
  const server = await mesh.pod({ name: 'server' }, 2);
  await server.pod.serve({ port: 8080, mode: 'http' });
  const to = `${server.pod.addresses.v4}:8080`;
  const run = async ({ pod }: MeshPod): Promise<Round> => {
    const before = busySeconds();
    const dialled = await pod.dial({ to, mode: 'http', connections: CONNECTIONS, concurrency: CONCURRENCY });
    if (dialled.failed > 0) throw new Error(`${pod.name}: ${JSON.stringify(dialled.failures)}`);
    return {
      rate: CONNECTIONS / (dialled.elapsedNs / 1e9),
      microseconds: ((busySeconds() - before) / CONNECTIONS) * 1e6,
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

/** Processor time that the machine has spent so far, idle and waiting not counted. */
function busySeconds(): number {
  const fields =
    readFileSync('/proc/stat', 'utf8').split('\n')[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields;
  return (user + nice + system + irq + softirq) / 100;
}
