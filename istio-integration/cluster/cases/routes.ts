import assert from 'node:assert/strict';
import { type AccessLine, parseAccessLog } from '@kmesh/lab';
import type { Manifest } from '../api/api.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import {
  answered,
  type Calls,
  call,
  callsUntil,
  callUntil,
  clusterIp,
  having,
  identity,
  inside,
  ports,
  proxyOf,
  type Scene,
} from './scene.ts';
import {
  type Behind,
  SERVICE,
  service,
  url,
  useWaypoint,
  WAYPOINT,
  withServer,
  withWaypoint,
} from './waypoint-scene.ts';

const tcp = `tcp://${SERVICE}.${inside}:${ports.tcp}`;
/** A header that the route adds to a request, as the server reports it. */
export const THROUGH = /RequestHeader=X-Through:(\S+)/;

/** Backends of a route, and the parts of the traffic that each gets. */
type Weights = readonly { readonly name: string; readonly weight: number }[];

const WEIGHTS: Weights = [
  { name: SERVICE, weight: 0 },
  { name: 'near', weight: 1 },
  { name: 'far', weight: 3 },
];

/** A route of the service's requests to others, by weight. */
export function httpRoute(to: Weights): Manifest {
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

/** A route of the connections to the service's TCP port to others, by weight. */
function tcpRoute(to: Weights): Manifest {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'TCPRoute',
    metadata: { name: SERVICE, namespace: inside } as Manifest['metadata'],
    spec: {
      parentRefs: [{ ...service, port: ports.tcp }],
      rules: [{ backendRefs: to.map(({ name, weight }) => ({ name, weight, port: ports.tcp })) }],
    },
  };
}

/** Fails unless `near` and `far` got all of the 200 calls, and `near` about one of four. */
function sharedByWeight({ servers }: Calls): void {
  const of = (name: string): number => servers.filter((server) => server.startsWith(`${name}-`)).length;
  assert.equal(of(SERVICE), 0);
  assert.equal(of('near') + of('far'), 200);
  // Expected 50; exceeded by chance in one run of 100,000.
  assert.ok(of('near') > 22 && of('near') < 80, `${of('near')} of 200 went to one of four parts`);
}

/** Calls a server 200 times. */
const manyCalls = async (scene: Scene, { client }: Behind, server: string): Promise<Calls> =>
  answered(await call(scene, client, server, { count: 200 }));

/** Access log lines of the client's connections to the service's TCP port. */
async function tcpLines(scene: Scene, { client }: Behind): Promise<AccessLine['fields'][]> {
  const log = await scene.api.log(await proxyOf(scene, client.spec?.nodeName ?? ''));
  return parseAccessLog(log)
    .map(({ fields }) => fields)
    .filter(
      (fields) =>
        fields['direction'] === 'outbound' &&
        fields['src.identity'] === identity('client') &&
        fields['dst.service'] === `${SERVICE}.${inside}.svc.cluster.local`,
    );
}

/** Lines of connections that a route of this service chose the backend of. */
const routedLines = async (scene: Scene, behind: Behind): Promise<AccessLine['fields'][]> =>
  (await tcpLines(scene, behind)).filter((fields) => String(fields['route']).includes(SERVICE));

/** Waits until the service's own server answers on its TCP port, or one to which a route leads. */
async function untilServed(scene: Scene, { client, pod }: Behind, byOwn: boolean): Promise<void> {
  await callsUntil(
    scene,
    client,
    tcp,
    ({ failed, servers }) => !failed && (servers[0] === pod.metadata?.name) === byOwn,
  );
}

/** Another port of the same service is not the route's. */
async function otherPort(scene: Scene, { client, pod }: Behind): Promise<void> {
  const { servers } = answered(await call(scene, client, url, { count: 20 }));
  assert.deepEqual([...new Set(servers)], [pod.metadata?.name]);
}

/** Routes of Gateway API that share traffic by weight. */
export const routeCases: readonly Case[] = [
  {
    name: 'KME-05: an HTTPRoute shares the requests to a service with a waypoint by weight',
    run: (scene) =>
      withWaypoint(scene, 'service', async (behind) => {
        await having(scene, [httpRoute(WEIGHTS)], async () => {
          await useWaypoint(scene, WAYPOINT);
          await callsUntil(scene, behind.client, url, ({ text }) => THROUGH.test(text));
          sharedByWeight(await manyCalls(scene, behind, url));
        });
      }),
  },
  {
    name: 'KME-05: a TCPRoute shares the connections to a service with a waypoint by weight',
    run: (scene) =>
      withWaypoint(scene, 'service', async (behind) => {
        const { client } = behind;
        await callUntil(scene, client, tcp, 'answered');
        await useWaypoint(scene, WAYPOINT);
        const address = `${await clusterIp(scene, SERVICE)}:${ports.tcp}`;
        const throughWaypoint = async (): Promise<number> =>
          (await tcpLines(scene, behind)).filter(
            (fields) => fields['dst.identity'] === identity(WAYPOINT) && fields['dst.hbone_addr'] === address,
          ).length;
        await waitUntil(
          'a connection through the waypoint',
          30_000,
          async () => {
            // The waypoint may learn of the service after the node proxy does.
            await call(scene, client, tcp);
            return (await throughWaypoint()) > 0 ? true : undefined;
          },
          { everyMs: 300 },
        );
        await callUntil(scene, client, tcp, 'answered');
        await having(scene, [tcpRoute(WEIGHTS)], async () => {
          await untilServed(scene, behind, false);
          const before = await throughWaypoint();
          sharedByWeight(await manyCalls(scene, behind, tcp));
          let through = 0;
          await waitUntil(
            'the access log to have all of them through the waypoint',
            20_000,
            async () => {
              through = (await throughWaypoint()) - before;
              return through >= 200 ? true : undefined;
            },
            { everyMs: 300, state: () => `${through}` },
          );
          await otherPort(scene, behind);
        });
      }),
  },
  {
    name: 'KME-05: a TCPRoute shares the connections to a service without a waypoint by weight, across both paths',
    kernelPath: true,
    run: (scene) =>
      withServer(scene, {}, async (behind) => {
        const { client } = behind;
        await callUntil(scene, client, tcp, 'answered');
        await having(scene, [tcpRoute(WEIGHTS)], async () => {
          await untilServed(scene, behind, false);
          const before = (await routedLines(scene, behind)).length;
          sharedByWeight(await manyCalls(scene, behind, tcp));
          const lines = await waitUntil(
            'the access log to have the route of all of them',
            20_000,
            async () => {
              const found = (await routedLines(scene, behind)).slice(before);
              return found.length >= 200 ? found : undefined;
            },
            { everyMs: 300 },
          );
          const pathsTo = (name: string): unknown[] => [
            ...new Set(
              lines
                .filter((fields) => String(fields['dst.workload']).startsWith(`${name}-`))
                .map((fields) => fields['path']),
            ),
          ];
          assert.deepEqual(pathsTo('near'), ['kernel']);
          assert.deepEqual(pathsTo('far'), ['tunnel']);
          await otherPort(scene, behind);
        });
        // Without the route the service has its own endpoints again.
        await untilServed(scene, behind, true);
      }),
  },
];
