import assert from 'node:assert/strict';
import type { KubernetesObject } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { installMesh, uninstallMesh } from '../mesh/install.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { answered, call, enrolled, inside, namespace, onlyPod, proxies, type Scene } from './scene.ts';

interface DaemonSet extends KubernetesObject {
  readonly spec?: {
    readonly template?: {
      readonly spec?: {
        readonly containers?: readonly { readonly image?: string }[];
      };
    };
  };
}

/** Returns rules and tables of Kmesh and istio-cni in the network namespaces of a node's pods, one per line. */
async function leftInPods(scene: Scene, node: string): Promise<string[]> {
  const script =
    'for pod in /run/netns/*; do nsenter --net="$pod" sh -c "nft list tables; iptables-save" 2>/dev/null | ' +
    'grep -E "kmesh|ISTIO" | sed "s|^|$pod: |"; done; true';
  return (await scene.outside.run(node, ['sh', '-c', script])).split('\n').filter((line) => line !== '');
}

async function membersAre(scene: Scene, state: 'enabled' | undefined): Promise<void> {
  for (const name of ['client', 'near', 'far'])
    await waitUntil(
      `${name} to ${state === undefined ? 'leave' : 'be in'} the mesh`,
      60_000,
      async () => {
        const pod = await onlyPod(scene, name);
        return pod.metadata?.annotations?.['ambient.istio.io/redirection'] === state ? true : undefined;
      },
      { everyMs: 200 },
    );
}

/** The end of a mesh; a new one is installed after it. */
export const uninstallCases: readonly Case[] = [
  {
    name: 'Istio is uninstalled while the pods stay: they stay connected, nothing is left in them, and a new mesh enrols them',
    async run(scene) {
      const daemonSet = await scene.api.read<DaemonSet>(proxies);
      const { containers } = daemonSet?.spec?.template?.spec ?? {};
      const reference = containers?.[0]?.image ?? '';
      const member = (mode: string | null): Manifest => ({
        ...namespace(inside, true),
        metadata: { name: inside, labels: { 'istio.io/dataplane-mode': mode } } as never,
      });
      const pods = async (): Promise<(string | undefined)[]> =>
        Promise.all(
          ['client', 'near', 'far'].map(async (name) => (await onlyPod(scene, name)).metadata?.uid),
        );
      const before = await pods();
      const talk = async (): Promise<void> => {
        const client = await onlyPod(scene, 'client');
        for (const server of ['near', 'far'])
          answered(await call(scene, client, `http://${server}.${inside}:80`));
      };
      await scene.api.merge(member(null));
      await membersAre(scene, undefined);
      await talk();
      await uninstallMesh(scene.kubeconfig);
      await talk();
      for (const node of scene.nodes) assert.deepEqual(await leftInPods(scene, node), [], node);
      await installMesh(scene.kubeconfig, { reference, mounts: scene.kernelPath });
      await scene.api.merge(member('ambient'));
      await membersAre(scene, 'enabled');
      await enrolled(await onlyPod(scene, 'client'));
      await talk();
      assert.deepEqual(await pods(), before);
    },
  },
];
