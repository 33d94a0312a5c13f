import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import { containerd } from '../bare/node.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { underLoad } from './lifecycle.ts';
import { dialling, kindsOf, longConnections } from './load.ts';
import {
  answered,
  call,
  callUntil,
  clusterIp,
  inside,
  onlyPod,
  outside,
  ports,
  proxies,
  proxyOf,
  type Scene,
} from './scene.ts';

/** Connections that are open while the proxy ends, each with a request that is answered later. */
const LONG = 10;
const long = { count: LONG, answerSeconds: 15 };

/** Kills a pod's container as the kernel does when memory is exhausted. Returns the time. */
async function killContainer(scene: Scene, pod: V1Pod): Promise<number> {
  const id = pod.status?.containerStatuses?.[0]?.containerID?.replace(/^containerd:\/\//, '') ?? '';
  const at = Date.now();
  await scene.outside.run(pod.spec?.nodeName ?? '', [
    ...['ctr', '--address', containerd, '--namespace', 'k8s.io', 'tasks', 'kill', '--signal', 'SIGKILL', id],
  ]);
  return at;
}

/** Waits until a container that was ended runs again and is ready. */
async function readyAgain(scene: Scene, before: V1Pod): Promise<void> {
  const restarts = before.status?.containerStatuses?.[0]?.restartCount ?? 0;
  await waitUntil(
    `${before.metadata?.name} to be ready again`,
    60_000,
    async () => {
      const [status] = (await proxyOf(scene, before.spec?.nodeName ?? '')).status?.containerStatuses ?? [];
      return status !== undefined && status.restartCount > restarts && status.ready ? true : undefined;
    },
    { everyMs: 50 },
  );
}

/** The proxy ends without a drain. */
export const suddenEndCases: readonly Case[] = [
  {
    name: 'NEG-28: kill -9 of the proxy under load: no connection of the kernel path fails or is closed',
    kernelPath: true,
    async run(scene) {
      const [client, near, far] = [
        await onlyPod(scene, 'client'),
        await onlyPod(scene, 'near'),
        await onlyPod(scene, 'far'),
      ];
      const stranger = await onlyPod(scene, 'stranger', outside);
      const proxy = await proxyOf(scene, client.spec?.nodeName ?? '');
      const [nearIp, farIp] = [await clusterIp(scene, 'near'), await clusterIp(scene, 'far')];
      // Without names: the DNS proxy does not run either.
      const kernel = {
        'to a pod of the node by its service': dialling(scene, client, `http://${nearIp}:80`, 100),
        'to a pod of the node by its address': dialling(
          scene,
          client,
          `http://${near.status?.podIP}:${ports.http}`,
          100,
        ),
        'to a host outside the mesh': dialling(
          scene,
          client,
          `http://${stranger.status?.podIP}:${ports.http}`,
          100,
        ),
        'into the mesh': dialling(scene, stranger, `http://${near.status?.podIP}:${ports.http}`, 100),
      };
      const tunnel = { 'to another node': dialling(scene, client, `http://${farIp}:80`, 50) };
      const names = { 'by name': dialling(scene, client, `http://near.${inside}:80`, 50) };
      const within = await longConnections(scene, client, near, `${nearIp}:80`, long);
      const between = await longConnections(scene, client, far, `${farIp}:80`, long);
      const killed = await killContainer(scene, proxy);
      await readyAgain(scene, proxy);
      const away = (Date.now() - killed) / 1000;
      const said: string[] = [`ready again after ${away.toFixed(1)} s`];
      const failures: string[] = [];
      for (const [way, load] of Object.entries({ ...kernel, ...tunnel, ...names })) {
        const { connections, lost } = await load.stop();
        const last = Math.max(0, ...lost.map(({ at }) => at - killed)) / 1000;
        const text = `${way}: ${lost.length} of ${connections} lost${
          lost.length === 0 ? '' : `, the last after ${last.toFixed(1)} s (${kindsOf(lost)})`
        }`;
        said.push(text);
        if (way in kernel && lost.length > 0) failures.push(text);
      }
      const cut = await within.cut;
      said.push(`open within the node: ${cut} of ${LONG} cut`);
      said.push(`open to another node: ${await between.cut} of ${LONG} cut`);
      if (cut > 0) failures.push(`${cut} open connections within the node were cut`);
      assert.deepEqual(failures, [], said.join('\n'));
      return said.join('; ');
    },
  },
  {
    name: "a node loses its power and gets it back: the other node continues to serve, and the node's pods are served again",
    async run(scene) {
      const [, node = ''] = scene.nodes;
      const client = await onlyPod(scene, 'client');
      const before = await onlyPod(scene, 'far');
      const { failures } = await underLoad(scene, [`http://near.${inside}:80`], async () => {
        await scene.outside.cutPower(node);
        await callUntil(scene, client, `http://far.${inside}:80`, 'refused');
      });
      assert.deepEqual(failures, []);
      const started = performance.now();
      await scene.outside.returnPower(node);
      await waitUntil(
        `${before.metadata?.name} to run again`,
        120_000,
        async () => {
          const { status } = await onlyPod(scene, 'far');
          const restarts = (of: V1Pod['status']): number => of?.containerStatuses?.[0]?.restartCount ?? 0;
          const ready = status?.containerStatuses?.[0]?.ready === true;
          return (ready && restarts(status) > restarts(before.status)) || undefined;
        },
        { everyMs: 300 },
      );
      await scene.api.rolledOut(proxies);
      await callUntil(scene, client, `http://far.${inside}:80`, 'answered');
      const seconds = (performance.now() - started) / 1000;
      answered(await call(scene, client, `http://far.${inside}:80`, { count: 20 }));
      answered(await call(scene, await onlyPod(scene, 'far'), `http://near.${inside}:80`, { count: 20 }));
      return `served again ${seconds.toFixed(1)} s after the power was back`;
    },
  },
];
