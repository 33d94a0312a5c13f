import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { largeHeaders } from '../mesh/waypoint.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { httpRoute, THROUGH } from './routes.ts';
import {
  accessLine,
  answered,
  call,
  callsUntil,
  callUntil,
  clusterIp,
  deployment,
  having,
  identity,
  inside,
  ports,
  type Scene,
} from './scene.ts';
import {
  type Behind,
  SERVICE,
  service,
  type Target,
  url,
  useWaypoint,
  WAYPOINT,
  withWaypoint,
} from './waypoint-scene.ts';

/** Headers of a request that the answer repeats: more than 200 kB in total. */
const LARGE_HEADERS = 14;
const LARGE_HEADER = 16_000;
const gateway: Target = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: WAYPOINT };

/** Has the waypoint refuse requests whose path begins with `/denied`. */
const denied = (target: Target): Manifest => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'denied', namespace: inside } as Manifest['metadata'],
  spec: { targetRefs: [target], action: 'DENY', rules: [{ to: [{ operation: { paths: ['/denied*'] } }] }] },
});

/** Only the waypoint may call the pod. */
const onlyWaypoint: Manifest = {
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'only-waypoint', namespace: inside } as Manifest['metadata'],
  spec: {
    selector: { matchLabels: { app: SERVICE } },
    action: 'ALLOW',
    rules: [{ from: [{ source: { principals: [identity(WAYPOINT).replace('spiffe://', '')] } }] }],
  },
};

/**
 * Both tunnels in the node proxies' logs: to the waypoint with the client's identity, to the pod with the waypoint's.
 */
async function twoTunnels(scene: Scene, { client, pod }: Behind, address: string): Promise<void> {
  await accessLine(
    scene,
    client.spec?.nodeName ?? '',
    (fields) =>
      fields['direction'] === 'outbound' &&
      fields['src.identity'] === identity('client') &&
      fields['dst.identity'] === identity(WAYPOINT) &&
      fields['dst.hbone_addr'] === address,
  );
  await accessLine(
    scene,
    pod.spec?.nodeName ?? '',
    (fields) =>
      fields['direction'] === 'inbound' &&
      fields['dst.workload'] === pod.metadata?.name &&
      fields['src.identity'] === identity(WAYPOINT),
  );
}

/** Calls the service with headers that its answer repeats, and returns the length of each in the answer. */
async function largeAnswer({ api }: Scene, from: V1Pod): Promise<number[]> {
  const headers = Array.from({ length: LARGE_HEADERS }, (_, index) => `-H "X-Large-${index}: $text"`);
  const answer = await api.exec(from, [
    'sh',
    '-c',
    `text=$(printf '%0${LARGE_HEADER}d' 7) && exec client --timeout 20s ${headers.join(' ')} ${url}`,
  ]);
  assert.equal(answer.code, 0, answer.stderr);
  return [...answer.stdout.matchAll(/body\] RequestHeader=X-Large-\d+:(0+7)$/gm)].map(
    ([, text = '']) => text.length,
  );
}

const headersWhole = (lengths: readonly number[]): boolean =>
  lengths.length === LARGE_HEADERS && lengths.every((length) => length === LARGE_HEADER);

/** Waypoints that istiod deploys and configures: Envoy, and Istio's agent beside it. */
export const waypointCases: readonly Case[] = [
  {
    name: "IST-07: traffic to a service with istiod's waypoint passes it completely, is authorised by it, and cannot bypass it",
    run: (scene) =>
      withWaypoint(scene, 'service', async (behind) => {
        const { client, pod, direct } = behind;
        const own = [{ name: SERVICE, weight: 1 }];
        await having(
          scene,
          [httpRoute(own), denied(service), largeHeaders(WAYPOINT, inside, 1024)],
          async () => {
            assert.doesNotMatch((await callUntil(scene, client, url, 'answered')).text, THROUGH);
            await useWaypoint(scene, WAYPOINT);
            await callsUntil(scene, client, url, ({ text }) => THROUGH.test(text));
            const { text } = answered(await call(scene, client, url, { count: 20 }));
            assert.deepEqual(
              [...text.matchAll(new RegExp(THROUGH, 'g'))].map(([, name]) => name),
              Array.from({ length: 20 }, () => WAYPOINT),
            );
            // By the pod's address it is not traffic of a service.
            assert.doesNotMatch(answered(await call(scene, client, direct)).text, THROUGH);
            await twoTunnels(scene, behind, `${await clusterIp(scene, SERVICE)}:80`);

            const refused = await callsUntil(scene, client, `${url}/denied/it`, ({ text: said }) =>
              said.includes('StatusCode=403'),
            );
            assert.deepEqual(refused.servers, []);
            assert.deepEqual((await call(scene, client, `${direct}/denied/it`)).servers, [
              pod.metadata?.name,
            ]);

            let lengths: readonly number[] = [];
            await waitUntil(
              'large headers that come back whole',
              30_000,
              async () => {
                lengths = await largeAnswer(scene, client);
                return headersWhole(lengths) ? true : undefined;
              },
              { everyMs: 200, state: () => JSON.stringify(lengths) },
            );

            await having(scene, [onlyWaypoint], async () => {
              await callUntil(scene, client, direct, 'refused');
              answered(await call(scene, client, url, { count: 5 }));
            });

            await scene.api.merge({ ...deployment(WAYPOINT), spec: { replicas: 0 } });
            await callUntil(scene, client, url, 'refused');
            assert.equal((await call(scene, client, url, { count: 5 })).servers.length, 0);
          },
        );
      }),
  },
  {
    name: 'IST-07: traffic to the address of a pod with a waypoint passes it, and is authorised by it',
    run: (scene) =>
      withWaypoint(scene, 'workload', async (behind) => {
        const { client, pod, direct } = behind;
        await having(scene, [denied(gateway)], async () => {
          const refused = await callsUntil(scene, client, `${direct}/denied/it`, ({ text }) =>
            text.includes('StatusCode=403'),
          );
          assert.deepEqual(refused.servers, []);
          const calls = answered(await call(scene, client, direct, { count: 10 }));
          assert.deepEqual([...new Set(calls.servers)], [pod.metadata?.name]);
          await twoTunnels(scene, behind, `${pod.status?.podIP}:${ports.http}`);
        });
      }),
  },
];
