import assert from 'node:assert/strict';
import type { V1Container, V1DaemonSet } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import type { Case } from './case.ts';
import { SAMPLE, serves } from './kernel-path.ts';
import { underLoad, waitForRoll } from './lifecycle.ts';
import { longConnections } from './load.ts';
import { callUntil, clusterIp, having, inside, onlyPod, proxies, proxyOf, type Scene } from './scene.ts';

/** Connections of each kind that are open while the proxies are rolled. */
const LONG = 10;
/** Shorter than a proxy's drain, and longer than the time until the first proxy ends. */
const [SHORT_ANSWER, LATE_ANSWER] = [8, 60];

/** Pins of a node, except those of each pod. */
async function pins(scene: Scene, node: string): Promise<string[]> {
  const text = await scene.outside.run(node, [
    ...['find', '/sys/fs/bpf/kmesh', '-mindepth', '1', '-not', '-path', '*/pods/*'],
  ]);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .sort();
}

/** The proxies' container as it is now. */
async function proxyContainer(scene: Scene): Promise<V1Container> {
  const found = await scene.api.read<V1DaemonSet>(proxies);
  const [own] = found?.spec?.template.spec?.containers ?? [];
  assert.ok(own !== undefined);
  return own;
}

/**
 * The same container with the image of an earlier Kmesh and the place of cgroup v2: some revisions do not find it on hosts
 * that also have v1.
 */
async function earlierContainer(scene: Scene, own: V1Container, image: string): Promise<V1Container> {
  const [node = ''] = scene.nodes;
  const mounts = await scene.outside.run(node, ['findmnt', '-n', '-o', 'TARGET', '-t', 'cgroup2']);
  const [mount = ''] = mounts.split('\n').filter((line) => line.startsWith('/sys/fs/cgroup'));
  const env = own.env?.map((one) =>
    one.name === 'KMESH_CGROUP' ? { name: one.name, value: `/host${mount}` } : one,
  );
  return { ...own, image, ...(env === undefined ? {} : { env }) };
}

async function rollTo(scene: Scene, container: V1Container): Promise<void> {
  await waitForRoll(scene, () =>
    scene.api.merge({ ...proxies, spec: { template: { spec: { containers: [container] } } } } as Manifest),
  );
}

/** Result of a roll under load. */
interface Roll {
  readonly said: string;
  /** How many of {@link LONG} connections between two pods of the node were closed. */
  readonly within: number;
}

/** Rolls the proxies to a container with connections of every kind open and new ones being made. */
async function rollUnderLoad(scene: Scene, container: V1Container): Promise<Roll> {
  const [client, near, far] = [
    await onlyPod(scene, 'client'),
    await onlyPod(scene, 'near'),
    await onlyPod(scene, 'far'),
  ];
  const [nearHost, farHost] = [`${await clusterIp(scene, 'near')}:80`, `${await clusterIp(scene, 'far')}:80`];
  const late = { count: LONG, answerSeconds: LATE_ANSWER };
  const soon = { count: LONG, answerSeconds: SHORT_ANSWER };
  const within = await longConnections(scene, client, near, nearHost, late);
  const between = await longConnections(scene, client, far, farHost, late);
  const short = await longConnections(scene, client, far, farHost, soon);
  const urls = [`http://near.${inside}:80`, `http://far.${inside}:80`];
  const { failures, calls } = await underLoad(scene, urls, () => rollTo(scene, container));
  assert.deepEqual(failures, []);
  const cut = { within: await within.cut, between: await between.cut, short: await short.cut };
  const said = `${calls} calls, none failed; cut of ${LONG} open within the node: ${cut.within}, to another node: ${cut.between}, there with an answer after ${SHORT_ANSWER} s: ${cut.short}`;
  // The proxy terminates tunnelled connections and drains them for some seconds, as ztunnel does; connections of the
  // kernel path do not end in it.
  const { within: here, ...others } = cut;
  assert.deepEqual(others, { between: LONG, short: 0 }, said);
  return { said, within: here };
}

/** The pins of a layout of handshakes. */
const handshakes = (found: readonly string[]): string[] =>
  found.filter((pin) => pin.includes('/handshakes-'));

/** From an earlier Kmesh to this one, and back. */
export const upgradeCases: readonly Case[] = [
  {
    name: 'IST-15, KME-18: rollback to an earlier Kmesh, and upgrade from it: no call fails, open connections end as with ztunnel, the kernel path serves as before, and nothing of the other is left',
    kernelPath: true,
    earlier: true,
    async run(scene) {
      const own = await proxyContainer(scene);
      assert.ok(scene.earlier !== undefined && own.image !== scene.earlier);
      const [node = ''] = scene.nodes;
      await serves(scene, SAMPLE);
      const before = await pins(scene, node);
      const back = await rollUnderLoad(scene, await earlierContainer(scene, own, scene.earlier));
      const [without] = /.*no kernel path.*/.exec(await scene.api.log(await proxyOf(scene, node))) ?? [];
      assert.equal(without, undefined, `${scene.earlier} cannot be upgraded from here: ${without}`);
      await serves(scene, SAMPLE);
      const others = await pins(scene, node);
      const upgrade = await rollUnderLoad(scene, own);
      await serves(scene, SAMPLE);
      assert.deepEqual(await pins(scene, node), before);
      // Only the new programs and tables decide: a new policy is in force at once, and no longer after its removal.
      const client = await onlyPod(scene, 'client');
      const principals = [`cluster.local/ns/${inside}/sa/client`];
      const deny: Manifest = {
        apiVersion: 'security.istio.io/v1',
        kind: 'AuthorizationPolicy',
        metadata: { name: 'deny-client', namespace: inside } as Manifest['metadata'],
        spec: {
          selector: { matchLabels: { app: 'near' } },
          action: 'DENY',
          rules: [{ from: [{ source: { principals } }] }],
        },
      };
      await having(scene, [deny], async () => {
        await callUntil(scene, client, `http://near.${inside}:80`, 'refused');
      });
      await callUntil(scene, client, `http://near.${inside}:80`, 'answered');
      // Programs with different layouts of handshakes are never attached together, so open connections may end.
      const shared = handshakes(others).join() === handshakes(before).join();
      const layouts = others.filter((pin) => !before.includes(pin));
      const said = `back: ${back.said}; upgrade: ${upgrade.said}; handshakes ${shared ? '' : 'not '}shared`;
      if (shared) assert.deepEqual([back.within, upgrade.within], [0, 0], said);
      return `${said}; pins only of the earlier one: ${layouts.length}`;
    },
  },
];
