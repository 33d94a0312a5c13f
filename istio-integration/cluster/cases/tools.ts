import assert from 'node:assert/strict';
import { istioctl } from '../mesh/install.ts';
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
    kernelPath: true,
    async run(scene) {
      for (const node of scene.nodes) {
        const proxy = await proxyOf(scene, node);
        const answer = await scene.api.exec(proxy, ['kmeshctl', 'check']);
        assert.equal(answer.code, 0, `${node}:\n${answer.stdout}${answer.stderr}`);
      }
    },
  },
];
