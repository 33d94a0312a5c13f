import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Dialer } from '@kmesh/lab/testing/kernel/dialer.ts';
import {
  createPodNamespace,
  service,
  startKernelPath,
  workload,
} from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { type BpfProgram, enableProgramStatistics } from '@kmesh/linux';
import { MeshState } from '@kmesh/orchestration';

const CONNECTIONS_PER_SECOND = 14_000;
const SLICES_PER_SECOND = 20;
/** Repeats until one second meets the bounds: other load on the machine only increases the time. */
const SECONDS = 30;
/** Nanoseconds per run, including the kernel's measurement. */
const bounds = { kmesh_connect4: 532, kmesh_sockops: 1_423 } as const;

test('BPF-13: at 14,000 connections/s a run of connect4 costs at most 532 ns and one of sockops at most 1,423 ns', async (context) => {
  const view = new MeshState();
  await using path = await startKernelPath({ view });
  const client = workload({ uid: 'client', addresses: ['10.0.0.9'] });
  const web = service({
    hostname: 'web',
    vips: [{ network: '', ip: '10.1.0.1' }],
    ports: new Map([[80, 8080]]),
  });
  const endpoints = ['10.2.0.1', '10.2.0.2', '10.2.0.3'].map((ip, index) =>
    workload({ uid: `web-${index}`, addresses: [ip], services: new Map([['default/web', new Map()]]) }),
  );
  await path.tables.apply(
    view.apply([
      { kind: 'service', service: web },
      ...[client, ...endpoints].map((member) => ({ kind: 'workload', workload: member }) as const),
    ]),
  );
  using pod = createPodNamespace();
  path.tables.enrol(pod.cookie, client, false);
  using statistics = enableProgramStatistics();
  void statistics;
  const dialer = new Dialer(pod);
  const measured = Object.keys(bounds).map((name) => path.object.program(name));
  const best = new Map<string, number>();
  const holds = () =>
    Object.entries(bounds).every(([name, bound]) => (best.get(name) ?? Number.POSITIVE_INFINITY) <= bound);
  for (let second = 0; second < SECONDS && !holds(); second++) {
    const before = measured.map((program) => program.info());
    await oneSecond(dialer);
    for (const [index, program] of measured.entries()) {
      const cost = costSince(program, before[index]);
      best.set(program.name, Math.min(cost, best.get(program.name) ?? Number.POSITIVE_INFINITY));
    }
  }
  await dialer.close();
  context.diagnostic(`best of a second, ns per run: ${JSON.stringify(Object.fromEntries(best))}`);
  for (const [name, bound] of Object.entries(bounds)) {
    const cost = best.get(name) ?? Number.NaN;
    assert.ok(cost <= bound, `${name}: ${cost.toFixed(0)} ns per run, ${bound} allowed`);
  }
});

/** Opens this many connections over one second, or longer if the machine is slower. */
async function oneSecond(dialer: Dialer): Promise<void> {
  const target = { ip: '10.1.0.1', port: 80, count: CONNECTIONS_PER_SECOND / SLICES_PER_SECOND };
  const started = performance.now();
  for (let slice = 1; slice <= SLICES_PER_SECOND; slice++) {
    await dialer.dial([target]);
    await pause(Math.max(0, started + (slice * 1_000) / SLICES_PER_SECOND - performance.now()));
  }
}

function costSince(program: BpfProgram, before = program.info()): number {
  const { runTimeNs, runCount } = program.info();
  const runs = Number(runCount - before.runCount);
  assert.ok(runs >= CONNECTIONS_PER_SECOND, `${program.name} ran ${runs} times`);
  return Number(runTimeNs - before.runTimeNs) / runs;
}
