import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { runIn } from '../bare/machine.ts';
import { machineOf } from '../bare/state.ts';
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

/** Lets a node forward to a pod only TCP connections to 15008, as a NetworkPolicy does, while something happens. */
async function underNetworkPolicy(node: string, pod: V1Pod, action: () => Promise<void>): Promise<void> {
  const machine = machineOf(node);
  const rule = (verb: string): Promise<string> =>
    runIn(machine, [
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

/** Kinds of services, and ways to a pod beside them. */
export const serviceCases: readonly Case[] = [
  {
    name: 'internalTrafficPolicy Local: only the pod on the node of the client, and none where there is none',
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
        // Known by now: it was made before the service that was just called.
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
    name: 'a NetworkPolicy that admits only 15008: members of the mesh get through, others do not',
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
        await underNetworkPolicy(node, pod, async () => {
          await callUntil(scene, stranger, url, 'refused');
          await callUntil(scene, far, url, 'answered');
          // Its plain SYN is lost, and comes again: from then on the kernel path knows that the port is not to be reached.
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
];
