import assert from 'node:assert/strict';
import type { V1Pod } from '@kubernetes/client-node';
import type { Manifest } from '../api/api.ts';
import { waypointManifests } from '../mesh/waypoint.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import {
  accessLine,
  answered,
  app,
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
/** What the waypoint adds to a request, as the server says what it got. */
const THROUGH = /RequestHeader=X-Through:(\S+)/;
/** As a request has them and its answer repeats them: together more than 200 kB. */
const LARGE_HEADERS = 14;
const LARGE_HEADER = 16_000;
const identity = (account: string): string => `spiffe://cluster.local/ns/${inside}/sa/${account}`;

/** A service on another node than its waypoint and its client, and what calls its pod past the service. */
interface Behind {
  readonly client: V1Pod;
  readonly pod: V1Pod;
  readonly direct: string;
}

/** Brings in a service that uses a waypoint, and takes both out again. */
async function behindWaypoint(scene: Scene, action: (behind: Behind) => Promise<void>): Promise<void> {
  const [near = '', far = near] = scene.nodes;
  const client = await onlyPod(scene, 'client');
  await having(scene, app(SERVICE, { namespace: inside, node: far }), async () => {
    await scene.api.rolledOut(deployment(SERVICE));
    const pod = await onlyPod(scene, SERVICE);
    const target = { address: pod.status?.podIP ?? '', port: ports.http };
    const place = { name: WAYPOINT, namespace: inside, node: near, target };
    const waypoint = waypointManifests({ ...place, deniedPath: '/denied', header: 'x-through' });
    await having(scene, waypoint, async () => {
      await scene.api.rolledOut(deployment(WAYPOINT));
      assert.doesNotMatch((await callUntil(scene, client, url, 'answered')).text, THROUGH);
      await useWaypoint(scene, WAYPOINT);
      let last = '';
      await waitUntil(
        'a request through the waypoint',
        30_000,
        async () => {
          last = (await call(scene, client, url)).text;
          return last.match(THROUGH) === null ? undefined : true;
        },
        { everyMs: 200, state: () => last },
      );
      await action({ client, pod, direct: `http://${target.address}:${target.port}` });
      await useWaypoint(scene, null);
      await callUntil(scene, client, url, 'answered');
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

/** Both tunnels, as their ends say: to the service with the client's identity, to the pod with the waypoint's. */
async function twoTunnels(scene: Scene, pod: V1Pod): Promise<void> {
  const envoy = await onlyPod(scene, WAYPOINT);
  const first = `to=${await clusterIp(scene, SERVICE)}:80 from=${identity('client')} 200`;
  await waitUntil(
    `"${first}" in the waypoint's access log`,
    20_000,
    async () => (await scene.api.log(envoy)).includes(first) || undefined,
    { everyMs: 300 },
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

/** Asks the service with headers that its answer repeats, and returns how long each of them was in that. */
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

/** A service with a waypoint: a plain Envoy that takes HBONE as Istio's own does. */
export const waypointCases: readonly Case[] = [
  {
    name: 'traffic to a service with a waypoint goes through it, whole, is judged by it, and does not go around it',
    run: (scene) =>
      behindWaypoint(scene, async ({ client, pod, direct }) => {
        const { text } = answered(await call(scene, client, url, { count: 20 }));
        assert.deepEqual(
          [...text.matchAll(new RegExp(THROUGH, 'g'))].map(([, name]) => name),
          Array.from({ length: 20 }, () => WAYPOINT),
        );
        // By the pod's own address it is not a service's traffic.
        assert.doesNotMatch(answered(await call(scene, client, direct)).text, THROUGH);
        await twoTunnels(scene, pod);

        const denied = await call(scene, client, `${url}/denied/it`);
        assert.match(denied.text, /StatusCode=403/);
        assert.deepEqual(denied.servers, []);
        assert.deepEqual((await call(scene, client, `${direct}/denied/it`)).servers, [pod.metadata?.name]);

        assert.deepEqual(
          await largeAnswer(scene, client),
          Array.from({ length: LARGE_HEADERS }, () => LARGE_HEADER),
        );

        await having(scene, [onlyWaypoint], async () => {
          await callUntil(scene, client, direct, 'refused');
          answered(await call(scene, client, url, { count: 5 }));
        });

        await scene.api.merge({ ...deployment(WAYPOINT), spec: { replicas: 0 } });
        await callUntil(scene, client, url, 'refused');
        assert.equal((await call(scene, client, url, { count: 5 })).servers.length, 0);
      }),
  },
];
