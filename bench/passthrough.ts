/**
 * Plaintext that the tunnel path passes on, with the sockets of exchanges joined in the kernel against copying every byte,
 * and no mesh beside them, interleaved: a client outside the mesh, three server pods on one node, two of them captured,
 * each by a proxy process of its own.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { MeshUpdate } from '@kmesh/api';
import {
  createLab,
  installRedirect,
  type Pod,
  type TunnelProxyStart,
  tunnelProxyProgram,
  workloadOf,
} from '@kmesh/lab';
import { runWrk, startNginx } from './passthrough/programs.ts';
import { atLeast, environment, type Figure, figure, type Ratio, type Report } from './report.ts';

const ROUNDS = Number(process.env['KMESH_BENCH_ROUNDS'] ?? 5);
const HTTP_PORT = 8080;
const BULK_PORT = 8081;
const NGINX_PORT = 8082;
const bulkProgram = fileURLToPath(new URL('tunnel/bulk.ts', import.meta.url));

interface Contestant {
  readonly name: 'no mesh' | 'copied' | 'joined';
  readonly client: Pod;
  readonly server: Pod;
}

/** KMESH_BENCH_AMONG leaves some out, such as `copied,joined`. */
const names = (process.env['KMESH_BENCH_AMONG'] ?? 'no mesh,copied,joined').split(
  ',',
) as Contestant['name'][];

interface Measure {
  readonly name: string;
  readonly unit: string;
  /** Lowest share of copying that is good. */
  readonly bound?: number;
  readonly run: (contestant: Contestant) => Promise<number>;
}

const measures: readonly Measure[] = [
  { name: 'requests/s, 1 connection', unit: '/s', bound: 1.1, run: (one) => requests(one, 1, 12_000) },
  { name: 'requests/s, 64 connections', unit: '/s', bound: 0.95, run: (one) => requests(one, 64, 1_200) },
  {
    ...{ name: 'requests/s, connections of 20 requests', unit: '/s', bound: 0.95 },
    run: (one) => requests(one, 1_000, 20),
  },
  { name: 'requests/s, 1 connection, 4 KiB', unit: '/s', run: (one) => wrk(one, 1, '4k') },
  { name: 'requests/s, 64 connections, 4 KiB', unit: '/s', run: (one) => wrk(one, 64, '4k') },
  { name: 'requests/s, 64 connections, 12 KiB', unit: '/s', run: (one) => wrk(one, 64, '12k') },
  { name: 'bulk, 1 connection', unit: 'Gb/s', bound: 0.9, run: (one) => bulk(one, 1) },
  { name: 'bulk, 4 connections', unit: 'Gb/s', bound: 0.9, run: (one) => bulk(one, 4) },
  {
    name: 'processor time per 1,000 requests, 1 connection',
    unit: 'ms',
    run: (one) => processorTime(one, 1),
  },
  {
    name: 'processor time per 1,000 requests, 64 connections',
    unit: 'ms',
    run: (one) => processorTime(one, 64),
  },
];

export async function suite(): Promise<Report> {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await createLab());
  const node = await lab.node();
  const client = await node.pod({ name: 'client' });
  const contestants: Contestant[] = [];
  const proxies: ChildProcess[] = [];
  try {
    for (const name of names) {
      const server = await node.pod({ name: `server-${name.replace(' ', '-')}` });
      if (name !== 'no mesh') {
        proxies.push(await startProxy(node.name, server, name === 'joined'));
        await installRedirect(server, { dns: false });
      }
      await server.serve({ port: HTTP_PORT, mode: 'http' });
      startNginx(server, NGINX_PORT, stack);
      const bulkServer = server.spawn(process.execPath, [bulkProgram, 'serve', `${BULK_PORT}`]);
      await once(bulkServer.stdout ?? bulkServer, 'data');
      contestants.push({ name, client, server });
    }
    const report = await measure(contestants);
    for (const proxy of proxies) {
      proxy.send('usage');
      const [usage] = await once(proxy, 'message');
      // How many were joined: without any the figures compare copying with copying.
      console.error(JSON.stringify(usage));
    }
    return report;
  } finally {
    for (const proxy of proxies) proxy.kill('SIGKILL');
  }
}

async function startProxy(node: string, pod: Pod, join: boolean): Promise<ChildProcess> {
  const start: TunnelProxyStart = {
    ...{ node, join, certificates: {} },
    updates: [{ kind: 'workload', workload: workloadOf(pod, { protocol: 'HBONE' }) } satisfies MeshUpdate],
    pods: [
      {
        uid: pod.uid,
        name: pod.name,
        namespace: pod.podNamespace,
        serviceAccount: pod.serviceAccount,
        path: pod.namespacePath,
      },
    ],
  };
  const child = fork(tunnelProxyProgram, { serialization: 'advanced' });
  child.send(start);
  await once(child, 'message');
  return child;
}

async function measure(contestants: readonly Contestant[]): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  // KMESH_BENCH_ONLY names the figures to measure by the start of their names.
  const only = process.env['KMESH_BENCH_ONLY'] ?? '';
  for (const { name, unit, bound, run } of measures.filter((one) => one.name.startsWith(only))) {
    const rounds = new Map(contestants.map((contestant) => [contestant.name, [] as number[]]));
    for (const contestant of contestants) await run(contestant);
    for (let round = 0; round < ROUNDS; round++) {
      const order = round % 2 === 0 ? contestants : contestants.toReversed();
      for (const contestant of order) rounds.get(contestant.name)?.push(await run(contestant));
    }
    const found = contestants.map((contestant) =>
      figure(name, contestant.name, unit, rounds.get(contestant.name) ?? []),
    );
    figures.push(...found);
    const [copied, joined] = ['copied', 'joined'].map((who) =>
      found.find(({ contestant }) => contestant === who),
    );
    if (bound !== undefined && copied !== undefined && joined !== undefined)
      ratios.push(atLeast(`${name}: joined over copied`, joined.value / copied.value, bound));
  }
  return { suite: 'passthrough', environment: environment(), figures, ratios };
}

async function requests({ client, server }: Contestant, connections: number, each: number): Promise<number> {
  const report = await client.dial({
    to: `${server.addresses.v4}:${HTTP_PORT}`,
    mode: 'http',
    connections,
    concurrency: Math.min(connections, 64),
    requests: each,
    timeoutMs: 30_000,
  });
  if (report.failed > 0) throw new Error(`${report.failed} failed: ${JSON.stringify(report.failures)}`);
  return (connections * each * 1e9) / report.elapsedNs;
}

async function wrk({ client, server }: Contestant, connections: number, path: string): Promise<number> {
  return await runWrk(client, `http://${server.addresses.v4}:${NGINX_PORT}/${path}`, connections, 2);
}

async function bulk({ client, server }: Contestant, connections: number): Promise<number> {
  const to = [bulkProgram, 'send', server.addresses.v4, `${BULK_PORT}`, '2'];
  const runs = Array.from({ length: connections }, () =>
    client.run(process.execPath, to, { timeoutMs: 30_000 }),
  );
  let rate = 0;
  for (const { stdout } of await Promise.all(runs)) {
    const [bytes = 0, milliseconds = 1] = stdout.trim().split(' ').map(Number);
    rate += (bytes * 8) / milliseconds / 1e6;
  }
  return rate;
}

async function processorTime(contestant: Contestant, connections: number): Promise<number> {
  const before = busyMilliseconds();
  const count = 48_000;
  await requests(contestant, connections, count / connections);
  return (busyMilliseconds() - before) / (count / 1000);
}

/** Of the whole machine, interrupts and kernel threads included. */
function busyMilliseconds(): number {
  const [, user, nice, system, , , irq, softirq] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '')
    .split(/\s+/)
    .map(Number);
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0)) * 10;
}
