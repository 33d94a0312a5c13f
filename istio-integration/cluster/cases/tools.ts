import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { istioctl } from '../mesh/install.ts';
import type { Case } from './case.ts';
import { answered, call, inside, onlyPod, outside, proxyOf, type Scene } from './scene.ts';

/** Queries a node's proxy by istioctl, and parses its JSON. */
async function asked(scene: Scene, kind: string): Promise<readonly Record<string, unknown>[]> {
  const proxy = await proxyOf(scene, (await onlyPod(scene, 'client')).spec?.nodeName ?? '');
  const pod = `${proxy.metadata?.name}.istio-system`;
  return JSON.parse(await istioctl(scene.kubeconfig, ['ztunnel-config', kind, pod, '-o', 'json'])) as never;
}

/** istioctl's commands for ztunnel. */
export const toolCases: readonly Case[] = [
  {
    name: 'istioctl ztunnel-config workloads shows the pods, with HBONE only for members of the mesh',
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
    name: 'istioctl ztunnel-config services, certificates, connections and policies succeed',
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
    name: 'istioctl proxy-status shows a proxy of each node, connected to istiod and acknowledging',
    async run(scene) {
      const lines = (await istioctl(scene.kubeconfig, ['proxy-status'])).split('\n');
      for (const node of scene.nodes) {
        const name = `${(await proxyOf(scene, node)).metadata?.name}.istio-system`;
        const line = lines.find((one) => one.startsWith(name)) ?? '';
        assert.match(line, /\bistiod-\S+ .*WADS,WDS/, `${name} in:\n${lines.join('\n')}`);
      }
    },
  },
  {
    // For a pod it queries a sidecar, and fails without one, with any node proxy.
    name: 'istioctl x describe finds the pods of a service of the mesh',
    async run(scene) {
      const said = await istioctl(scene.kubeconfig, ['experimental', 'describe', 'service', `far.${inside}`]);
      assert.match(said, /\(1 pods in service\)/);
    },
  },
  {
    name: "istioctl bug-report collects each proxy's log and configuration, as for a ztunnel",
    async run(scene) {
      const folder = mkdtempSync(join(tmpdir(), 'kmesh-bug-report-'));
      try {
        await istioctl(
          scene.kubeconfig,
          ['bug-report', '--timeout', '60s', '--dir', join(folder, 'work'), '--output-dir', folder],
          { timeoutMs: 90_000 },
        );
        const archive = join(folder, 'bug-report.tar.gz');
        const read = (path: string): string =>
          execFileSync('tar', ['-xzOf', archive, path], { encoding: 'utf8', maxBuffer: 64 << 20 });
        for (const node of scene.nodes) {
          const from = `proxies/istio-system/${(await proxyOf(scene, node)).metadata?.name}`;
          const dump = JSON.parse(read(`${from}/config_dump`)) as { workloads: { name: string }[] };
          assert.ok(dump.workloads.some(({ name }) => name.startsWith('far-')));
          assert.match(read(`${from}/istio-proxy.log`), /\bready\b/i);
        }
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  },
  {
    name: 'istioctl x describe pod describes a pod; without --ignoreUnmeshed it looks for a sidecar in it',
    async run(scene) {
      const far = (await onlyPod(scene, 'far')).metadata?.name ?? '';
      const said = await istioctl(scene.kubeconfig, [
        ...['experimental', 'describe', 'pod', far, '--namespace', inside, '--ignoreUnmeshed'],
      ]);
      assert.match(said, /Pod: far-/);
      assert.match(said, /Workload mTLS mode: PERMISSIVE/);
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
