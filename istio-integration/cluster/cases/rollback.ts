import assert from 'node:assert/strict';
import type { V1DaemonSet } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { kernelShare, SAMPLE, serves } from './kernel-path.ts';
import { underLoad, waitForRoll } from './lifecycle.ts';
import { inside, proxies, type Scene } from './scene.ts';

type PodSpec = NonNullable<NonNullable<V1DaemonSet['spec']>['template']['spec']>;

/** Volumes and settings of the profile that a proxy without a kernel path lacks. */
const ofProfile = (name: string): boolean => name.startsWith('host-') || name.startsWith('KMESH_');
/** Short, because the case waits for its end. */
const LEASE = '5s';

/** The DaemonSet's pod template without the profile's additions to Istio's. */
function withoutKernelPath(spec: PodSpec): PodSpec {
  return {
    ...spec,
    volumes: spec.volumes?.filter(({ name }) => !ofProfile(name)) ?? [],
    containers: spec.containers.map((container) => ({
      ...container,
      volumeMounts: container.volumeMounts?.filter(({ name }) => !ofProfile(name)) ?? [],
      env: container.env?.filter(({ name }) => !ofProfile(name)) ?? [],
    })),
  };
}

function withLease(spec: PodSpec): PodSpec {
  return {
    ...spec,
    containers: spec.containers.map((container) => ({
      ...container,
      env: [...(container.env ?? []), { name: 'KMESH_LEASE', value: LEASE }],
    })),
  };
}

/** Rolls the proxies to another pod template. */
async function rollTo(scene: Scene, { volumes, containers }: PodSpec): Promise<void> {
  await waitForRoll(scene, () =>
    scene.api.merge({ ...proxies, spec: { template: { spec: { volumes, containers } } } } as Manifest),
  );
}

/** Rollback to a proxy without a kernel path, and rollout of Kmesh. */
export const rollbackCases: readonly Case[] = [
  {
    name: 'rollback to a proxy without a kernel path, and rollout of Kmesh: no call fails, also when the lease ends',
    kernelPath: true,
    async run(scene) {
      const spec = (await scene.api.read<V1DaemonSet>(proxies))?.spec?.template.spec;
      assert.ok(spec);
      await serves(scene, SAMPLE);
      const urls = [`http://near.${inside}:80`, `http://far.${inside}:80`];
      const { failures, calls } = await underLoad(scene, urls, async () => {
        await rollTo(scene, withLease(spec));
        await rollTo(scene, withoutKernelPath(spec));
        // Pinned programs decide until their lease ends; then all connections reach the proxy.
        await waitUntil(
          'the proxy to serve what the kernel path served',
          60_000,
          async () => (await kernelShare(scene)) === 0 || undefined,
          { everyMs: 500 },
        );
        await rollTo(scene, spec);
      });
      assert.deepEqual(failures, []);
      await serves(scene, SAMPLE);
      return `${calls} calls`;
    },
  },
];
