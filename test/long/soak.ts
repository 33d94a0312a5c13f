/**
 * Mixed load while pods are created and deleted, daemons restart, istiod and the CNI agent are unreachable,
 * certificates of 40 s are renewed and policies change. After each phase the load stops and the daemon that is never
 * restarted is measured: memory after a garbage collection, descriptors, threads and entries of the kernel tables do
 * not grow, and no operation failed without a fault that explains it. KMESH_SOAK_MINUTES sets how long, 20 by default.
 * `npm run test:long -- soak`
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { faults } from './soak/faults.ts';
import { runLanes } from './soak/load.ts';
import { type Holding, holdingOf, trendsOf } from './soak/measure.ts';
import { startSoak } from './soak/scene.ts';

const MINUTES = Number(process.env['KMESH_SOAK_MINUTES'] ?? 20);
/** Duration of the load before and after a fault of one phase. */
const LOAD_MILLISECONDS = 3_000;
const PROGRESS_MILLISECONDS = 30_000;
/** The daemon keeps pooled connections and records of removed pods for a limited time. */
const SETTLE_MILLISECONDS = 2_000;

test(`${MINUTES} minutes of load and faults leak no memory, descriptor or table entry`, {
  timeout: (MINUTES + 5) * 60_000,
}, async (context) => {
  assert.ok(MINUTES >= 2, 'a trend needs two minutes');
  await using scene = await startSoak();
  const { proxy } = scene.mesh.node(0);
  const began = performance.now();
  const seconds = () => (performance.now() - began) / 1000;
  const holdings: Holding[] = [];
  const ran = new Map<string, number>();
  const total = () => scene.lanes.reduce((sum, { count }) => sum + count.done, 0);
  const unexplained = () => scene.lanes.reduce((sum, { count }) => sum + count.unexplained.length, 0);
  const say = (text: string) => process.stdout.write(`soak ${Math.round(seconds())} s: ${text}\n`);
  const progress = setInterval(() => {
    const { memory = 0, descriptors, threads, entries } = holdings.at(-1) ?? {};
    const held = `${memory.toFixed(1)} MiB, ${descriptors} descriptors, ${threads} threads, ${entries} entries`;
    say(`${total()} done, ${unexplained()} unexplained failures; ${held}`);
  }, PROGRESS_MILLISECONDS);
  try {
    for (let phase = 0; seconds() < MINUTES * 60; phase++) {
      const fault = faults[phase % faults.length];
      if (fault === undefined) break;
      await runLanes(
        scene.lanes,
        (async () => {
          await delay(LOAD_MILLISECONDS);
          await fault.run(scene);
          await delay(LOAD_MILLISECONDS);
        })(),
      );
      scene.now.restarting = false;
      scene.now.istiodAway = false;
      ran.set(fault.name, (ran.get(fault.name) ?? 0) + 1);
      await scene.mesh.settled();
      await delay(SETTLE_MILLISECONDS);
      holdings.push(await holdingOf(proxy, scene.pins, seconds()));
    }
  } finally {
    clearInterval(progress);
  }
  const trends = trendsOf(holdings);
  for (const { name, count } of scene.lanes)
    say(
      `${name.padEnd(12)} ${count.done} done, ${count.explained} failed by a fault, ${count.unexplained.length} unexplained`,
    );
  for (const { name, first, last, most, growth, bound } of trends)
    say(
      `${name.padEnd(12)} first ${first.toFixed(1)}, last ${last.toFixed(1)}, most ${most.toFixed(1)}, grew by ${growth.toFixed(1)} of at most ${bound.toFixed(1)}`,
    );
  context.diagnostic(JSON.stringify(Object.fromEntries(ran)));
  for (const { name, count } of scene.lanes) {
    assert.deepEqual([...new Set(count.unexplained)].slice(0, 10), [], name);
    assert.ok(count.done > 20, `${name}: ${count.done}`);
  }
  assert.ok(ran.size === faults.length || MINUTES < 3, [...ran.keys()].join());
  for (const { name, growth, bound } of trends)
    assert.ok(growth <= bound, `${name} grew by ${growth}, of at most ${bound}`);
});
