import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { kindsOf, lostOfBatch } from './load.ts';
import { callUntil, having, inside, onlyPod, outside, ports, type Scene } from './scene.ts';

const authorization = (name: string, target: string, spec: object): Manifest => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name, namespace: inside } as Manifest['metadata'],
  spec: { selector: { matchLabels: { app: target } }, ...spec },
});
const principal = (account: string): object => ({
  source: { principals: [`cluster.local/ns/${inside}/sa/${account}`] },
});

const strict: Manifest = {
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'strict', namespace: inside } as Manifest['metadata'],
  spec: { mtls: { mode: 'STRICT' } },
};

/** Number of times a policy is created. */
const TURNS = 10;
/** This many connections in a row are refused. */
const IN_A_ROW = 100;

/**
 * Asserts that all of a stranger's connections are refused after their `connect`, and end in order if it only reads.
 */
async function refusedPlainly(scene: Scene, server: string): Promise<void> {
  const stranger = await onlyPod(scene, 'stranger', outside);
  const pod = await onlyPod(scene, server);
  for (const host of [`${server}.${inside}`, pod.status?.podIP ?? '']) {
    await callUntil(scene, stranger, `tcp://${host}:${ports.tcp}`, 'refused');
    const speaks = await lostOfBatch(scene, stranger, `tcp://${host}:${ports.tcp}`, { count: IN_A_ROW });
    const reads = await lostOfBatch(scene, stranger, `tcp://${host}:${ports.serverFirst}`, {
      count: IN_A_ROW,
      extra: ['--server-first'],
    });
    for (const lost of [speaks, reads]) assert.equal(lost.length, IN_A_ROW, `${host}: ${kindsOf(lost)}`);
    const wrong = [
      ...speaks.filter(({ why }) => /\bdial\b|\bconnect:|no answer/.test(why)),
      ...reads.filter(({ why }) => !/\bEOF$/.test(why)),
    ];
    assert.equal(kindsOf(wrong), '', host);
  }
}

/** Policies for connections. */
export const policyCases: readonly Case[] = [
  ...(['near', 'far'] as const).flatMap((server): Case[] => [
    {
      name: `IST-06: DENY for a service account refuses only that one (${server})`,
      async run(scene) {
        const client = await onlyPod(scene, 'client');
        const other = await onlyPod(scene, server === 'near' ? 'far' : 'near');
        const stranger = await onlyPod(scene, 'stranger', outside);
        const url = `http://${server}.${inside}:80`;
        const deny = authorization('deny-client', server, {
          action: 'DENY',
          rules: [{ from: [principal('client')] }],
        });
        await having(scene, [deny], async () => {
          await callUntil(scene, client, url, 'refused');
          await callUntil(scene, other, url, 'answered');
          await callUntil(scene, stranger, url, 'answered');
        });
        await callUntil(scene, client, url, 'answered');
      },
    },
    {
      name: `IST-06, KME-14: ALLOW for a namespace refuses clients without an identity of it (${server})`,
      async run(scene) {
        const client = await onlyPod(scene, 'client');
        const stranger = await onlyPod(scene, 'stranger', outside);
        const url = `http://${server}.${inside}:80`;
        const allow = authorization('allow-inside', server, {
          action: 'ALLOW',
          rules: [{ from: [{ source: { namespaces: [inside] } }] }],
        });
        await having(scene, [allow], async () => {
          await callUntil(scene, stranger, url, 'refused');
          await callUntil(scene, client, url, 'answered');
        });
        await callUntil(scene, stranger, url, 'answered');
      },
    },
    {
      name: `IST-05: STRICT refuses plaintext from outside the mesh, and allows members (${server})`,
      async run(scene) {
        const client = await onlyPod(scene, 'client');
        const stranger = await onlyPod(scene, 'stranger', outside);
        const pod = await onlyPod(scene, server);
        await having(scene, [strict], async () => {
          for (const url of [`http://${server}.${inside}:80`, `http://${pod.status?.podIP}:${ports.http}`]) {
            await callUntil(scene, stranger, url, 'refused');
            await callUntil(scene, client, url, 'answered');
          }
        });
        await callUntil(scene, stranger, `http://${server}.${inside}:80`, 'answered');
      },
    },
    {
      name: `IST-05, IST-06: plaintext that STRICT or DENY refuses is accepted and then closed, with either side sending first (${server})`,
      async run(scene) {
        const everyone = authorization('deny-strangers', server, {
          action: 'DENY',
          rules: [{ from: [{ source: { notNamespaces: [inside] } }] }],
        });
        const stranger = await onlyPod(scene, 'stranger', outside);
        for (const object of [strict, everyone]) {
          await having(scene, [object], () => refusedPlainly(scene, server));
          // Otherwise the first policy would refuse the first calls of the second.
          await callUntil(scene, stranger, `http://${server}.${inside}:80`, 'answered');
        }
      },
    },
    {
      name: `IST-06: a policy that is removed and created again at once has its new rules in force (${server})`,
      async run(scene) {
        const clients = [
          { account: 'client', pod: await onlyPod(scene, 'client') },
          {
            account: server === 'near' ? 'far' : 'near',
            pod: await onlyPod(scene, server === 'near' ? 'far' : 'near'),
          },
        ] as const;
        const url = `http://${server}.${inside}:80`;
        const only = (account: string): Manifest =>
          authorization('only', server, { action: 'ALLOW', rules: [{ from: [principal(account)] }] });
        await having(scene, [only('client')], async () => {
          for (let turn = 1; turn <= TURNS; turn += 1) {
            const [admitted, other] = turn % 2 === 0 ? clients : [clients[1], clients[0]];
            await scene.api.remove(only(other.account));
            await scene.api.apply(only(admitted.account));
            await callUntil(scene, other.pod, url, 'refused');
            await callUntil(scene, admitted.pod, url, 'answered');
          }
        });
      },
    },
  ]),
  {
    name: "KME-13: an ALLOW policy for the application's port does not affect the kubelet's probes",
    async run(scene) {
      const client = await onlyPod(scene, 'client');
      const url = `http://near.${inside}:80`;
      const allow = authorization('allow-http', 'near', {
        action: 'ALLOW',
        rules: [{ to: [{ operation: { ports: [String(ports.http)] } }] }],
      });
      const before = await onlyPod(scene, 'near');
      await having(scene, [allow], async () => {
        // The probe's request is refused from all other clients: the policy is in force.
        await callUntil(scene, client, `tcp://near.${inside}:${ports.tcp}`, 'refused');
        await callUntil(scene, client, url, 'answered');
        const start = await livenessProbes(scene, before);
        await waitUntil(
          'five more probes that succeed',
          60_000,
          async () => {
            const now = await livenessProbes(scene, before);
            assert.equal(now.failed, start.failed, 'a probe failed under the policy');
            return now.successful >= start.successful + 5 ? true : undefined;
          },
          { everyMs: 500 },
        );
        const after = await onlyPod(scene, 'near');
        assert.equal(
          after.status?.containerStatuses?.[0]?.restartCount,
          before.status?.containerStatuses?.[0]?.restartCount,
        );
      });
    },
  },
];

/** Returns the number of a pod's liveness probes by the kubelet's count. */
async function livenessProbes(
  { api }: Scene,
  pod: V1Pod,
): Promise<{ readonly successful: number; readonly failed: number }> {
  const text = await api.kubelet(pod.spec?.nodeName ?? '', 'metrics/probes');
  const of = (result: string): number => {
    const lines = text
      .split('\n')
      .filter((line) =>
        [
          `pod="${pod.metadata?.name}"`,
          'probe_type="Liveness"',
          `result="${result}"`,
          'prober_probe_total{',
        ].every((part) => line.includes(part)),
      );
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };
  return { successful: of('successful'), failed: of('failed') };
}
