import assert from 'node:assert/strict';
import { parseAccessLog } from '@kmesh/lab';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { rollProxies, underLoad } from './lifecycle.ts';
import { answered, call, inside, onlyPod, proxyOf, type Scene } from './scene.ts';

/** What {@link kernelShare} looks at. */
export const SAMPLE = 40;

/** How many of {@link SAMPLE} connections between two pods of a node were on the kernel path, as the access log says. */
export async function kernelShare(scene: Scene): Promise<number> {
  const client = await onlyPod(scene, 'client');
  const near = await onlyPod(scene, 'near');
  const proxy = await proxyOf(scene, client.spec?.nodeName ?? '');
  const lines = async (): Promise<string[]> =>
    parseAccessLog(await scene.api.log(proxy))
      .map(({ fields }) => fields)
      .filter(
        (fields) =>
          fields['src.workload'] === client.metadata?.name &&
          fields['dst.workload'] === near.metadata?.name &&
          fields['direction'] === 'outbound',
      )
      .map((fields) => String(fields['path']));
  const before = (await lines()).length;
  answered(await call(scene, client, `http://near.${inside}:80`, { count: SAMPLE }));
  let seen = 0;
  const paths = await waitUntil(
    `${SAMPLE} lines of the access log`,
    20_000,
    async () => {
      const all = await lines();
      seen = all.length - before;
      return seen >= SAMPLE ? all.slice(before, before + SAMPLE) : undefined;
    },
    { everyMs: 300, state: () => `${seen} lines` },
  );
  return paths.filter((path) => path === 'kernel').length;
}

/** Waits until the kernel path serves at least `share` of {@link SAMPLE}, as after an enrolment. */
export async function serves(scene: Scene, share: number): Promise<void> {
  let last = 0;
  await waitUntil(
    `${share} of ${SAMPLE} connections between pods of a node on the kernel path`,
    30_000,
    async () => {
      last = await kernelShare(scene);
      return last >= share ? true : undefined;
    },
    { everyMs: 500, state: () => `${last}` },
  );
}

/** The kernel path, in a cluster that gives Kmesh its mounts. */
export const kernelPathCases: readonly Case[] = [
  {
    name: 'connections between pods of a node are on the kernel path, all of them',
    kernelPath: true,
    run: (scene) => serves(scene, SAMPLE),
  },
  {
    name: 'after three rolls the kernel path serves the same share as before, and no call failed meanwhile',
    kernelPath: true,
    async run(scene) {
      await serves(scene, SAMPLE);
      const urls = [`http://near.${inside}:80`, `http://far.${inside}:80`];
      const { failures } = await underLoad(scene, urls, async () => {
        for (const _roll of [1, 2, 3]) await rollProxies(scene);
      });
      assert.deepEqual(failures, []);
      await serves(scene, SAMPLE);
    },
  },
];
