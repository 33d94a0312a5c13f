import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { largeHeaders, waypoint } from '../mesh/waypoint.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import {
  accessLine,
  answered,
  app,
  type Calls,
  call,
  callUntil,
  clusterIp,
  deployment,
  having,
  inside,
  onlyPod,
  ports,
  type Scene,
} from './scene.ts';

const WAYPOINT = 'waypoint';
const SERVICE = 'behind';
const url = `http://${SERVICE}.${inside}:80`;
/** A header that the waypoint adds to a request, as the server reports it. */
const THROUGH = /RequestHeader=X-Through:(\S+)/;
/** Headers of a request that the answer repeats: more than 200 kB in total. */
const LARGE_HEADERS = 14;
const LARGE_HEADER = 16_000;
const identity = (account: string): string => `spiffe://cluster.local/ns/${inside}/sa/${account}`;

/** A server on another node than its client, and a URL of its pod. */
interface Behind {
  readonly client: V1Pod;
  readonly pod: V1Pod;
  readonly direct: string;
}

type Target = { readonly group: string; readonly kind: string; readonly name: string };
const service: Target = { group: '', kind: 'Service', name: SERVICE };
const gateway: Target = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: WAYPOINT };

/** A route of the service to others, by weight. */
function route(to: readonly { readonly name: string; readonly weight: number }[]): Manifest {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'HTTPRoute',
    metadata: { name: SERVICE, namespace: inside } as Manifest['metadata'],
    spec: {
      parentRefs: [service],
      rules: [
        {
          filters: [
            {
              type: 'RequestHeaderModifier',
              requestHeaderModifier: { set: [{ name: 'x-through', value: WAYPOINT }] },
            },
          ],
          backendRefs: to.map(({ name, weight }) => ({ name, weight, port: 80 })),
        },
      ],
    },
  };
}

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

/** Creates a server and a waypoint, and removes both afterwards. */
async function withWaypoint(
  scene: Scene,
  traffic: 'service' | 'workload',
  action: (behind: Behind) => Promise<void>,
): Promise<void> {
  const [, far] = scene.nodes;
  const client = await onlyPod(scene, 'client');
  const place = { namespace: inside, ...(far === undefined ? {} : { node: far }) };
  const labels = traffic === 'workload' ? { 'istio.io/use-waypoint': WAYPOINT } : {};
  await having(scene, [waypoint(WAYPOINT, { namespace: inside, traffic })], async () => {
    await scene.api.rolledOut(deployment(WAYPOINT));
    await having(scene, app(SERVICE, { ...place, labels }), async () => {
      await scene.api.rolledOut(deployment(SERVICE));
      const pod = await onlyPod(scene, SERVICE);
      await action({ client, pod, direct: `http://${pod.status?.podIP}:${ports.http}` });
    });
  });
}

async function useWaypoint({ api }: Scene, name: string | null): Promise<void> {
  await api.merge({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: SERVICE, namespace: inside, labels: { 'istio.io/use-waypoint': name } } as never,
  });
}

/** Calls the service until an answer meets the condition. */
async function callsUntil(
  scene: Scene,
  from: V1Pod,
  to: string,
  wanted: (calls: Calls) => boolean,
): Promise<Calls> {
  let last = '';
  return await waitUntil(
    `the wanted answer of ${to}`,
    30_000,
    async () => {
      const calls = await call(scene, from, to);
      last = calls.text;
      return wanted(calls) ? calls : undefined;
    },
    { everyMs: 200, state: () => last },
  );
}

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
        await having(scene, [route(own), denied(service), largeHeaders(WAYPOINT, inside, 1024)], async () => {
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
          assert.deepEqual((await call(scene, client, `${direct}/denied/it`)).servers, [pod.metadata?.name]);

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
        });
      }),
  },
  {
    name: 'KME-05: an HTTPRoute shares the requests to a service with a waypoint by weight',
    run: (scene) =>
      withWaypoint(scene, 'service', async ({ client }) => {
        const shares = { [SERVICE]: 0, near: 1, far: 3 };
        const weights = Object.entries(shares).map(([name, weight]) => ({ name, weight }));
        await having(scene, [route(weights)], async () => {
          await useWaypoint(scene, WAYPOINT);
          await callsUntil(scene, client, url, ({ text }) => THROUGH.test(text));
          const { servers } = answered(await call(scene, client, url, { count: 200 }));
          const of = (name: string): number =>
            servers.filter((server) => server.startsWith(`${name}-`)).length;
          assert.equal(of(SERVICE), 0);
          assert.equal(of('near') + of('far'), 200);
          // Expected 50; exceeded by chance in one run of 100,000.
          assert.ok(of('near') > 22 && of('near') < 80, `${of('near')} of 200 went to one of four parts`);
        });
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
