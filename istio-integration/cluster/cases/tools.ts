import assert from 'node:assert/strict';
import { istioctl } from '../mesh/install.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { answered, call, inside, onlyPod, outside, proxyOf, type Scene } from './scene.ts';

/** Asks a node's proxy through istioctl, and takes its JSON. */
async function asked(scene: Scene, kind: string): Promise<readonly Record<string, unknown>[]> {
  const proxy = await proxyOf(scene, (await onlyPod(scene, 'client')).spec?.nodeName ?? '');
  const pod = `${proxy.metadata?.name}.istio-system`;
  return JSON.parse(await istioctl(scene.kubeconfig, ['ztunnel-config', kind, pod, '-o', 'json'])) as never;
}

/** istioctl, as people run it against ztunnel. */
export const toolCases: readonly Case[] = [
  {
    name: 'istioctl ztunnel-config workloads shows the pods, with HBONE for members of the mesh alone',
    async run(scene) {
      const workloads = await asked(scene, 'workloads');
      const protocolOf = (name: string | undefined): unknown =>
        workloads.find((workload) => workload['name'] === name)?.['protocol'];
      for (const name of ['client', 'near', 'far'])
        assert.equal(protocolOf((await onlyPod(scene, name)).metadata?.name), 'HBONE', name);
      assert.equal(protocolOf((await onlyPod(scene, 'stranger', outside)).metadata?.name), 'TCP');
    },
  },
  {
    name: 'istioctl ztunnel-config services, certificates, connections and policies answer',
    async run(scene) {
      answered(await call(scene, await onlyPod(scene, 'client'), `http://far.${inside}:80`));
      const services = await asked(scene, 'services');
      assert.ok(services.some((service) => service['name'] === 'far' && service['namespace'] === inside));
      const certificates = JSON.stringify(await asked(scene, 'certificates'));
      assert.match(certificates, new RegExp(`ns/${inside}/sa/client`));
      for (const kind of ['connections', 'policies']) await asked(scene, kind);
    },
  },
  {
    name: 'istioctl ztunnel-config log changes the level, and shows it',
    async run(scene) {
      const proxy = await proxyOf(scene, scene.nodes[0] ?? '');
      const pod = `${proxy.metadata?.name}.istio-system`;
      const level = (args: readonly string[]): Promise<string> =>
        istioctl(scene.kubeconfig, ['ztunnel-config', 'log', pod, ...args]);
      const before = await level([]);
      assert.match(await level(['--level', 'debug']), /debug/);
      await level(['--level', 'info']);
      assert.match(before, /info/);
    },
  },
  {
    name: 'kmeshctl check finds nothing wrong on any node',
    async run(scene) {
      for (const node of scene.nodes) {
        const proxy = await proxyOf(scene, node);
        const answer = await scene.api.exec(proxy, ['kmeshctl', 'check']);
        assert.equal(answer.code, 0, `${node}:\n${answer.stdout}${answer.stderr}`);
      }
    },
  },
  {
    name: 'connections between pods of a node are on the kernel path where the mounts of the profile are',
    async run(scene) {
      const [client, near] = [await onlyPod(scene, 'client'), await onlyPod(scene, 'near')];
      const proxy = await proxyOf(scene, client.spec?.nodeName ?? '');
      const mounted = proxy.spec?.volumes?.some(({ name }) => name === 'host-bpf') === true;
      await pathOfCalls(scene, mounted ? 'kernel' : 'tunnel');
      assert.ok(near);
    },
  },
];

/** Calls the near server until the access log has a call on a path. */
export async function pathOfCalls(scene: Scene, path: 'kernel' | 'tunnel'): Promise<void> {
  const client = await onlyPod(scene, 'client');
  const near = await onlyPod(scene, 'near');
  const proxy = await proxyOf(scene, client.spec?.nodeName ?? '');
  let last = '';
  await waitUntil(
    `a call to ${near.metadata?.name} on the ${path} path`,
    30_000,
    async () => {
      answered(await call(scene, client, `http://near.${inside}:80`));
      const lines = (await scene.api.log(proxy))
        .split('\n')
        .filter((line) => line.includes(`dst.workload="${near.metadata?.name}"`));
      last = lines.at(-1) ?? '';
      return (
        lines.some((line) => line.includes(`path=${path}`) || line.includes(`path="${path}"`)) || undefined
      );
    },
    { everyMs: 500, state: () => last },
  );
}
