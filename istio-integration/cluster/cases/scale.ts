import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { containerd, pauseImage } from '../bare/node.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { deployment, having, inside, proxyOf, type Scene } from './scene.ts';

const PODS = 50;
const CROWD = 'crowd';
/** Additional descriptors that a proxy may have: one or two of its own new connections. */
const SPARE = 8;

/** Idle pods, so that only their creation and deletion costs. */
const crowd: Manifest = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: CROWD, namespace: inside } as Manifest['metadata'],
  spec: {
    replicas: PODS,
    selector: { matchLabels: { app: CROWD } },
    template: {
      metadata: { labels: { app: CROWD } },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'pause', image: pauseImage }],
      },
    },
  },
};

/** Returns the number of open descriptors of a proxy. */
async function descriptors(scene: Scene, proxy: V1Pod): Promise<number> {
  const id = proxy.status?.containerStatuses?.[0]?.containerID?.replace(/^containerd:\/\//, '') ?? '';
  const node = proxy.spec?.nodeName ?? '';
  const tasks = await scene.outside.run(node, [
    'ctr',
    '--address',
    containerd,
    '--namespace',
    'k8s.io',
    'tasks',
    'ls',
  ]);
  const [, pid = ''] = new RegExp(`^${id}\\s+(\\d+)`, 'm').exec(tasks) ?? [];
  assert.notEqual(pid, '', `no process of ${proxy.metadata?.name}:\n${tasks}`);
  return (await scene.outside.run(node, ['ls', `/proc/${pid}/fd`])).trim().split('\n').length;
}

async function descriptorsOfAll(scene: Scene): Promise<number[]> {
  return await Promise.all(scene.nodes.map(async (node) => descriptors(scene, await proxyOf(scene, node))));
}

/** Many pods at once. */
export const scaleCases: readonly Case[] = [
  {
    name: 'fifty pods are created and deleted, twice: all are enrolled, and the proxies leak no descriptors',
    async run(scene) {
      const before = await descriptorsOfAll(scene);
      const seconds: string[] = [];
      let during: number[] = [];
      for (const _round of [1, 2]) {
        const started = performance.now();
        await having(scene, [crowd], async () => {
          await scene.api.rolledOut(deployment(CROWD));
          let last = 0;
          await waitUntil(
            `${PODS} pods to be enrolled`,
            60_000,
            async () => {
              const pods = await scene.api.pods(inside, `app=${CROWD}`);
              last = pods.filter(
                ({ metadata }) => metadata?.annotations?.['ambient.istio.io/redirection'] === 'enabled',
              ).length;
              return last === PODS || undefined;
            },
            { everyMs: 200, state: () => `${last}` },
          );
          seconds.push(`${((performance.now() - started) / 1000).toFixed(1)} s`);
          during = await descriptorsOfAll(scene);
        });
        let last = during;
        await waitUntil(
          'the proxies to have closed what was for the pods',
          30_000,
          async () => {
            last = await descriptorsOfAll(scene);
            return last.every((count, index) => count <= (before[index] ?? 0) + SPARE) || undefined;
          },
          { everyMs: 300, state: () => `${last.join(', ')}; before: ${before.join(', ')}` },
        );
      }
      const after = await descriptorsOfAll(scene);
      assert.ok(
        during.every((count, index) => count > (before[index] ?? 0) + SPARE),
        `${during}`,
      );
      return `${PODS} pods enrolled within ${seconds.join(' and ')}; descriptors of the proxies: ${before.join(', ')} before, ${during.join(', ')} with them, ${after.join(', ')} after`;
    },
  },
];
