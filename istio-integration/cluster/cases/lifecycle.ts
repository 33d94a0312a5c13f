import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { answered, call, deployment, enrolled, inside, onlyPod, proxies, type Scene } from './scene.ts';

/** As `kubectl rollout restart` does. */
export async function restart({ api }: Scene, of: Manifest): Promise<void> {
  const annotations = { 'kubectl.kubernetes.io/restartedAt': new Date().toISOString() };
  await api.merge({ ...of, spec: { template: { metadata: { annotations } } } });
}

/** Rolls the proxies of all nodes by their DaemonSet, and waits until the old ones have ended. */
export async function rollProxies(scene: Scene): Promise<void> {
  await waitForRoll(scene, () => restart(scene, proxies));
}

/** Changes the proxies' DaemonSet, and waits until all old pods have ended. */
export async function waitForRoll(scene: Scene, change: () => Promise<void>): Promise<void> {
  const before = await scene.api.pods('istio-system', 'app=ztunnel');
  await change();
  await scene.api.rolledOut(proxies);
  for (const { metadata } of before)
    await waitUntil(
      `${metadata?.name} to be gone`,
      90_000,
      async () =>
        (await scene.api.read({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: metadata as Manifest['metadata'],
        })) === undefined
          ? true
          : undefined,
      { everyMs: 300 },
    );
}

/** Calls URLs 25 times per second, each on a new connection, during an action. Returns the number of calls. */
export async function underLoad(
  scene: Scene,
  urls: readonly string[],
  action: () => Promise<void>,
): Promise<{ readonly calls: number; readonly failures: readonly string[] }> {
  const client: V1Pod = await onlyPod(scene, 'client');
  let over = false;
  let calls = 0;
  const failures: string[] = [];
  const load = urls.map(async (url) => {
    while (!over) {
      const batch = await call(scene, client, url, { count: 75, qps: 25 });
      calls += 75;
      if (batch.failed) failures.push(`${url}: ${batch.text.trim().split('\n').slice(-4).join(' / ')}`);
    }
  });
  try {
    await action();
  } finally {
    over = true;
    await Promise.all(load);
  }
  return { calls, failures };
}

/** Lifecycle of a mesh. */
export const lifecycleCases: readonly Case[] = [
  {
    name: 'IST-27, KME-16: a pod that is labelled none leaves the mesh, and returns without the label',
    async run(scene) {
      const far = await onlyPod(scene, 'far');
      const client = await onlyPod(scene, 'client');
      const labelled = (mode: string | null): Manifest => ({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: {
          name: far.metadata?.name ?? '',
          namespace: inside,
          labels: { 'istio.io/dataplane-mode': mode },
        } as never,
      });
      const state = async (wanted: string | undefined): Promise<void> => {
        await waitUntil(
          `the annotation of ${far.metadata?.name} to be ${wanted ?? 'absent'}`,
          30_000,
          async () => {
            const pod = await onlyPod(scene, 'far');
            const found = pod.metadata?.annotations?.['ambient.istio.io/redirection'];
            return found === wanted ? true : undefined;
          },
          { everyMs: 200 },
        );
        answered(await call(scene, client, `http://far.${inside}:80`));
      };
      await scene.api.merge(labelled('none'));
      await state(undefined);
      await scene.api.merge(labelled(null));
      await state('enabled');
    },
  },
  {
    name: 'IST-14, KME-09: no call fails while the server is rolled',
    async run(scene) {
      const { calls, failures } = await underLoad(scene, [`http://far.${inside}:80`], async () => {
        await restart(scene, deployment('far'));
        await scene.api.rolledOut(deployment('far'));
      });
      assert.ok(calls >= 75);
      assert.deepEqual(failures, []);
      await enrolled(await onlyPod(scene, 'far'));
    },
  },
  {
    name: 'IST-15, KME-18: no call fails while the proxy is rolled',
    async run(scene) {
      const urls = [`http://near.${inside}:80`, `http://far.${inside}:80`];
      const { calls, failures } = await underLoad(scene, urls, () => rollProxies(scene));
      assert.ok(calls >= 150);
      assert.deepEqual(failures, []);
    },
  },
];
