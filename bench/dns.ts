/**
 * Answers of the pods' DNS proxy compared with unbound, which answers the same names from local data, in one namespace,
 * interleaved: maximum rate, and latency at 5,000 queries/s; then the delay that forwarding adds, and the cost of
 * queries in the control thread.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { DnsProxy } from '@kmesh/dns';
import { serviceOf, workloadOf } from '@kmesh/lab';
import { createNetworkNamespace } from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';
import { atLeast, atMost, environment, figure, type Report } from './harness/report.ts';
import { rounds } from './harness/settings.ts';

const ROUNDS = rounds(3, 2);
const SECONDS = 2;
const NAMES = 100;
const loadProgram = fileURLToPath(new URL('../build/lab/dns-load', import.meta.url));
const resolver = '198.51.100.1';
const pod = {
  uid: 'client',
  name: 'client',
  podNamespace: 'ns1',
  serviceAccount: 'sa',
  labels: {},
  node: '',
};

interface Load {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly lost: number;
  readonly empty: number;
}

/** The suite `dns`. */
export async function suite(): Promise<Report> {
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-bench-dns-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const namespace = stack.use(createNetworkNamespace('bench-dns'));
  const within = (command: string, ...words: string[]): [string, string[]] => [
    'nsenter',
    [`--net=${namespace.path}`, command, ...words],
  ];
  execFileSync(...within('ip', 'addr', 'add', `${resolver}/32`, 'dev', 'lo'));
  const local = Array.from({ length: NAMES }, (_, index) => `service-${index}.ns1.svc.cluster.local`);
  const unbound = spawn(...within('/usr/sbin/unbound', '-d', '-c', writeUnbound(directory, local)));
  stack.defer(() => void unbound.kill());
  const conf = join(directory, 'resolv.conf');
  writeFileSync(conf, `nameserver ${resolver}\n`);

  const state = new MeshState();
  const proxy = stack.use(
    new DnsProxy({
      mesh: state,
      settings: {
        ...{ clusterDomain: 'cluster.local', preferredNamespace: undefined, ipv6: true, mark: undefined },
        ...{
          portReuse: true,
          address: { host: 'localhost', port: 15_053 },
          resolvConf: conf,
          ownSearch: false,
        },
      },
      logger: silent,
      logsQueries: () => false,
    }),
  );
  state.apply([
    ...local.map((_, index) => ({
      kind: 'service' as const,
      service: serviceOf({
        name: `service-${index}`,
        namespace: 'ns1',
        vips: [`10.96.0.${index}`],
        ports: { 80: 80 },
      }),
    })),
    {
      kind: 'workload' as const,
      workload: workloadOf({ ...pod, addresses: { v4: '10.0.0.1', v6: 'fd00::1' } }),
    },
  ]);
  proxy.addPod('client', { name: 'client', namespace: 'ns1', serviceAccount: 'sa' }, namespace);
  await proxy.ready();

  const ask = async (
    port: number,
    options: { address?: string; seconds?: number; window: number; rate: number; names: readonly string[] },
  ): Promise<Load> => {
    const { address = '127.0.0.1', seconds = SECONDS, window, rate, names } = options;
    const child = spawn(
      ...within(loadProgram, address, `${port}`, `${seconds}`, `${window}`, `${rate}`, ...names),
    );
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += String(chunk);
    });
    await once(child, 'close');
    return JSON.parse(text) as Load;
  };
  const contestants = { kmesh: { port: 15_053 }, unbound: { port: 53, address: resolver } } as const;
  type Name = keyof typeof contestants;
  const full: Record<Name, Load[]> = { kmesh: [], unbound: [] };
  const paced: Record<Name, Load[]> = { kmesh: [], unbound: [] };
  const single: Record<'forwarded' | 'direct', Load[]> = { forwarded: [], direct: [] };
  const world = ['www.example.com'];
  await ask(15_053, { window: 64, rate: 0, names: local });
  for (let round = 0; round < ROUNDS; round++) {
    const order: Name[] = round % 2 === 0 ? ['kmesh', 'unbound'] : ['unbound', 'kmesh'];
    for (const name of order) {
      const { port, ...where } = contestants[name];
      full[name].push(await ask(port, { ...where, window: 64, rate: 0, names: local }));
      paced[name].push(await ask(port, { ...where, window: 1_000, rate: 5_000, names: local }));
    }
    single.direct.push(await ask(53, { address: resolver, seconds: 1, window: 1, rate: 0, names: world }));
    single.forwarded.push(await ask(15_053, { seconds: 1, window: 1, rate: 0, names: world }));
  }
  const wrong = full.kmesh.reduce((sum, { empty }) => sum + empty, 0);
  if (wrong > 0) throw new Error(`${wrong} answers of the proxy were empty`);

  const delay = monitorEventLoopDelay({ resolution: 1 });
  const idle = await loopDelay(delay, () => new Promise((resolve) => setTimeout(resolve, SECONDS * 1_000)));
  const busy = await loopDelay(delay, () => ask(15_053, { window: 1_000, rate: 10_000, names: local }));

  const of = (loads: readonly Load[], field: keyof Load) => loads.map((load) => load[field]);
  const names = ['kmesh', 'unbound'] as const;
  const figures = [
    ...names.map((name) => figure('local answers', name, 'answers/s', of(full[name], 'perSecond'))),
    ...names.map((name) => figure('p50 at 5,000/s', name, 'us', of(paced[name], 'p50'))),
    ...names.map((name) => figure('p99 at 5,000/s', name, 'us', of(paced[name], 'p99'))),
    figure('p50, one query at a time, forwarded', 'kmesh', 'us', of(single.forwarded, 'p50')),
    figure('p50, one query at a time, the same asked itself', 'unbound', 'us', of(single.direct, 'p50')),
    figure('p99 of the control thread’s loop delay, no queries', 'kmesh', 'us', [idle]),
    figure('p99 of the control thread’s loop delay, 10,000 queries/s', 'kmesh', 'us', [busy]),
  ];
  const value = (index: number): number => figures[index]?.value ?? Number.NaN;
  return {
    suite: 'dns',
    environment: environment(),
    figures,
    ratios: [
      atLeast('local answers/s', value(0), 30_000),
      atMost('p99 at 5,000/s, us', value(4), 1_000),
      atMost('p50 that forwarding adds, us', value(6) - value(7), 150),
      atMost('loop delay that 10,000 queries/s add, us', value(9) - value(8), 1_000),
    ],
  };
}

/** p99 in microseconds while `work` runs. */
async function loopDelay(
  delay: ReturnType<typeof monitorEventLoopDelay>,
  work: () => Promise<unknown>,
): Promise<number> {
  delay.reset();
  delay.enable();
  await work();
  delay.disable();
  return delay.percentile(99) / 1e3;
}

function writeUnbound(directory: string, names: readonly string[]): string {
  const path = join(directory, 'unbound.conf');
  const data = names.map((name, index) => `  local-data: "${name}. 30 IN A 10.96.0.${index}"\n`);
  const options = [
    ...[`interface: ${resolver}`, 'access-control: 0.0.0.0/0 allow', 'num-threads: 1', 'do-daemonize: no'],
    ...['chroot: ""', 'username: ""', 'pidfile: ""', 'use-syslog: no', 'module-config: "iterator"'],
    ...['local-zone: "." static', 'local-data: "www.example.com. 60 IN A 203.0.113.7"'],
  ];
  const text = `server:\n${options.map((option) => `  ${option}\n`).join('')}${data.join('')}remote-control:\n  control-enable: no\n`;
  writeFileSync(path, text);
  const checked = spawnSync('/usr/sbin/unbound-checkconf', [path], { encoding: 'utf8' });
  if (checked.status !== 0) throw new Error(checked.stderr);
  return path;
}

const quiet = (): void => undefined;
const silent = {
  ...{ trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet },
  child: () => silent,
} as never;
