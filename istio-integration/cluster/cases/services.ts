import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import type { Case } from './case.ts';
import {
  accessLine,
  answered,
  app,
  call,
  callUntil,
  deployment,
  having,
  inside,
  onlyPod,
  outside,
  ports,
  type Scene,
} from './scene.ts';

/** A service of the cases' namespace over pods with these labels. */
function service(name: string, selector: Readonly<Record<string, string>>, spec: object = {}): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: inside } as Manifest['metadata'],
    spec: { selector, ports: [{ name: 'http', port: 80, targetPort: ports.http }], ...spec },
  };
}

/** During an action, a node forwards to a pod only TCP connections to 15008, as with a NetworkPolicy. */
async function underNetworkPolicy(
  { outside: nodes }: Scene,
  node: string,
  pod: V1Pod,
  action: () => Promise<void>,
): Promise<void> {
  const rule = (verb: string): Promise<string> =>
    nodes.run(node, [
      ...['iptables', '--wait', verb, 'FORWARD', '--destination', pod.status?.podIP ?? ''],
      ...['--protocol', 'tcp', '!', '--dport', '15008', '--syn', '--jump', 'DROP'],
    ]);
  await rule('--insert');
  try {
    await action();
  } finally {
    await rule('--delete');
  }
}

/**
 * During an action, two pods of a node are connected by an additional interface, as by a CNI plugin for several
 * networks.
 */
async function withSecondInterface(
  { outside: nodes }: Scene,
  node: string,
  ends: readonly { readonly pod: V1Pod; readonly address: string }[],
  action: () => Promise<void>,
): Promise<void> {
  const shell = (script: string): Promise<string> => nodes.run(node, ['sh', '-c', script]);
  const namespaces = await Promise.all(
    ends.map(async ({ pod }) => {
      const found = await shell(
        `for pod in $(ls /run/netns); do ip -n "$pod" -o address show | grep -q " ${pod.status?.podIP}/" && echo "$pod"; done; true`,
      );
      return found.trim();
    }),
  );
  await shell('ip link add second0 type veth peer name second1');
  for (const [index, { address }] of ends.entries())
    await shell(
      `ip link set second${index} netns ${namespaces[index]} && ip -n ${namespaces[index]} address add ${address}/24 dev second${index} && ip -n ${namespaces[index]} link set second${index} up`,
    );
  try {
    await action();
  } finally {
    // The other end is removed with it.
    await shell(`ip -n ${namespaces[0]} link delete second0`);
  }
}

/** Kinds of services, and other ways to reach a pod. */
export const serviceCases: readonly Case[] = [
  {
    name: "internalTrafficPolicy Local: only the pod on the client's node is reached, and none without one",
    async run(scene) {
      const all = service('both', { group: 'servers' });
      const local = service('local', { group: 'servers' }, { internalTrafficPolicy: 'Local' });
      const elsewhere = service('elsewhere', { app: 'far' }, { internalTrafficPolicy: 'Local' });
      await having(scene, [all, local, elsewhere], async () => {
        const [client, near, far] = await Promise.all(
          ['client', 'near', 'far'].map((name) => onlyPod(scene, name)),
        );
        assert.ok(client && near && far);
        const servers = async (host: string): Promise<string[]> => {
          await callUntil(scene, client, `http://${host}.${inside}:80`, 'answered');
          const calls = answered(await call(scene, client, `http://${host}.${inside}:80`, { count: 40 }));
          return [...new Set(calls.servers)].sort();
        };
        const names = [near, far].map((pod) => pod.metadata?.name);
        assert.deepEqual(await servers('both'), names.sort());
        assert.deepEqual(await servers('local'), [near.metadata?.name]);
        // Already known: it was created before the service that was just called.
        await callUntil(scene, client, `http://elsewhere.${inside}:80`, 'refused');
      });
    },
  },
  {
    name: 'a port-forward reaches a pod of the mesh',
    async run(scene) {
      const near = await onlyPod(scene, 'near');
      const request = 'GET / HTTP/1.1\r\nHost: near\r\nConnection: close\r\n\r\n';
      const answer = await scene.api.forward(near, ports.http, request, /Hostname=\S+/);
      assert.equal(/Hostname=(\S+)/.exec(answer)?.[1], near.metadata?.name);
    },
  },
  {
    name: 'a NetworkPolicy that admits only 15008: members of the mesh are connected, others are not',
    async run(scene) {
      const [node = ''] = scene.nodes;
      const guarded = app('guarded', { namespace: inside, node });
      await having(scene, guarded, async () => {
        await scene.api.rolledOut(deployment('guarded'));
        const pod = await onlyPod(scene, 'guarded');
        const [near, far] = [await onlyPod(scene, 'client'), await onlyPod(scene, 'far')];
        const stranger = await onlyPod(scene, 'stranger', outside);
        const url = `http://guarded.${inside}:80`;
        for (const client of [near, far, stranger]) await callUntil(scene, client, url, 'answered');
        await underNetworkPolicy(scene, node, pod, async () => {
          await callUntil(scene, stranger, url, 'refused');
          await callUntil(scene, far, url, 'answered');
          // Its plain SYN is dropped and retransmitted: from then on the port counts as unreachable by the kernel path.
          await callUntil(scene, near, url, 'answered');
          answered(await call(scene, near, url, { count: 20 }));
          const line = await accessLine(
            scene,
            node,
            (fields) =>
              fields['src.workload'] === near.metadata?.name &&
              fields['dst.workload'] === pod.metadata?.name &&
              String(fields['dst.addr']).endsWith(':15008'),
          );
          assert.equal(line['path'] ?? 'tunnel', 'tunnel');
        });
        await callUntil(scene, stranger, url, 'answered');
      });
    },
  },
  {
    name: 'a pod with a second interface reaches the network behind it, and the mesh through the first',
    async run(scene) {
      const [client, near, stranger] = await Promise.all([
        onlyPod(scene, 'client'),
        onlyPod(scene, 'near'),
        onlyPod(scene, 'stranger', outside),
      ]);
      const node = client.spec?.nodeName ?? '';
      assert.equal(stranger.spec?.nodeName, node);
      const ends = [
        { pod: client, address: '192.168.77.1' },
        { pod: stranger, address: '192.168.77.2' },
      ];
      await withSecondInterface(scene, node, ends, async () => {
        const calls = await callUntil(scene, client, `http://192.168.77.2:${ports.http}`, 'answered');
        assert.deepEqual(calls.servers, [stranger.metadata?.name]);
        // The server answers over the link itself, past every node.
        assert.match(calls.text, /IP=192\.168\.77\.1\b/);
        for (const name of ['near', 'far']) {
          const url = `http://${name}.${inside}:80`;
          const { servers } = answered(await call(scene, client, url, { count: 20 }));
          assert.equal(servers.length, 20);
        }
        const onward = `http://${client.status?.podIP}:${ports.http}`;
        for (const from of [near, stranger])
          assert.equal(answered(await call(scene, from, onward, { count: 20 })).servers.length, 20);
      });
    },
  },
];
