import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { GatewayAddress, Service } from '@kmesh/api';
import {
  connectFrom,
  createLab,
  endpointText,
  type HboneServer,
  keyOf,
  type Lab,
  type LabMesh,
  listenIn,
  type MeshPod,
  type Pod,
  serveWaypoint,
  serviceOf,
  startMesh,
} from '@kmesh/lab';
import { attempt, echo, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { assertFields, closeWithPaths, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { readProxyHeader } from '@kmesh/lab/testing/traffic/proxy-header.ts';
import { readExactly } from '@kmesh/lab/testing/tunnel/traffic.ts';

const families = ['v4', 'v6'] as const;

let lab: Lab;
let mesh: LabMesh;
let client: Pod;
let server: MeshPod;
let waypoint: MeshPod;
let peer: HboneServer;

before(async () => {
  lab = await createLab();
  await lab.node();
  await lab.node();
  mesh = await startMesh(lab);
  ({ pod: client } = await mesh.pod({ name: 'client' }));
  server = await mesh.pod({ name: 'server' }, 1);
  await server.pod.serve({ port: 8080, mode: 'double' });
  await server.pod.serve({ port: 8081, mode: 'banner' });
  waypoint = await mesh.pod({
    name: 'waypoint',
    captured: false,
    workload: { hostname: 'waypoint.example' },
  });
  peer = await serveWaypoint(waypoint.pod, {
    identity: mesh.identity(waypoint.pod),
    // The port selects the server, for any authority.
    route: ({ authority }) => ({
      ip: server.pod.addresses[authority.startsWith('[') ? 'v6' : 'v4'],
      port: authority.endsWith(':81') || authority.endsWith(':8081') ? 8081 : 8080,
      hbone: true,
    }),
  });
});
after(async () => {
  peer?.close();
  await closeWithPaths(mesh, lab);
});

function byAddress(ip: string): GatewayAddress {
  return { destination: { kind: 'address', network: '', ip }, hboneMtlsPort: 15008 };
}

function byName(hostname: string): GatewayAddress {
  return { destination: { kind: 'hostname', namespace: 'default', hostname }, hboneMtlsPort: 15008 };
}

/** A service of the server behind a waypoint, and its address to dial. */
async function publish(name: string, through: GatewayAddress): Promise<Service> {
  const service = serviceOf({
    name,
    vips: lab.serviceAddress(),
    ports: { 80: 8080, 81: 8081 },
    waypoint: through,
  });
  await mesh.apply(service, { ...server.workload, services: new Map([[keyOf(service), new Map()]]) });
  await untilTablesFollow(mesh);
  return service;
}

function vip(service: Service, family: (typeof families)[number]): string {
  return service.vips[family === 'v4' ? 0 : 1]?.ip ?? '';
}

for (const family of families) {
  test(`NSP-06: a server with a workload waypoint is reached through it (IP${family})`, async () => {
    const to = server.pod.addresses[family];
    const through = waypoint.pod.addresses[family];
    await mesh.apply({ ...server.workload, waypoint: byAddress(through) });
    const from = await mesh.proxyOf(client).watch();
    const at = await mesh.proxyOf(server.pod).watch();
    await echo(client, to);
    assertFields(await from.line('outbound'), {
      'dst.addr': endpointText(through, 15008),
      'dst.hbone_addr': endpointText(to, 8080),
      'dst.workload': 'waypoint',
      'src.identity': spiffe(client),
      'dst.identity': spiffe(waypoint.pod),
      bytes_sent: '11',
      bytes_recv: '22',
    });
    assertFields(await at.line('inbound'), {
      'src.identity': spiffe(waypoint.pod),
      'src.workload': 'waypoint',
      'dst.identity': spiffe(server.pod),
    });
    const request = peer.requests.at(-1);
    assert.equal(
      request?.remoteAddress,
      client.addresses[family],
      'the tunnel leaves the pod with its own IP',
    );
    assert.match(request?.clientNames ?? '', new RegExp(spiffe(client)));
    await mesh.apply(server.workload);
  });
}

describe('service waypoints', () => {
  let gateway: Service;

  before(async () => {
    gateway = serviceOf({ name: 'gateway', vips: lab.serviceAddress(), ports: { 15008: 15008 } });
    await mesh.apply(gateway, {
      ...waypoint.workload,
      services: new Map([[keyOf(gateway), new Map([[15008, 15008]])]]),
    });
  });

  for (const { name, how } of [
    { name: 'VIP', how: (family: (typeof families)[number]) => byAddress(vip(gateway, family)) },
    { name: 'host name of a service', how: () => byName(gateway.hostname) },
    { name: 'host name of a workload', how: () => byName('waypoint.example') },
  ]) {
    for (const family of families) {
      test(`NSP-07: a waypoint given by ${name} gets the VIP as authority (IP${family})`, async () => {
        const service = await publish(`by-${name.replaceAll(' ', '-').toLowerCase()}-${family}`, how(family));
        const from = await mesh.proxyOf(client).watch();
        const authority = endpointText(vip(service, family), 80);
        await echo(client, vip(service, family), 80);
        assertFields(await from.line('outbound'), {
          'dst.addr': endpointText(waypoint.pod.addresses[family], 15008),
          'dst.hbone_addr': authority,
          'dst.service': service.hostname,
          'dst.workload': 'waypoint',
        });
        const request = peer.requests.at(-1);
        assert.equal(request?.authority, authority);
        assert.match(request?.rawHeaders.join('\n') ?? '', new RegExp(`host=${service.hostname}`));
      });
    }
  }

  test('NEG-22: the first bytes of a server arrive through a waypoint', async () => {
    const service = await publish('banner', byName(gateway.hostname));
    for (const family of families) {
      const socket = await open(client, vip(service, family), 81);
      assert.equal((await readExactly(socket, 7)).toString(), 'server\n');
      socket.destroy();
    }
  });

  for (const { name, how } of [
    { name: 'host name', how: (empty: Service) => byName(empty.hostname) },
    { name: 'VIP', how: (empty: Service) => byAddress(empty.vips[0]?.ip ?? '') },
  ]) {
    test(`NEG-23: connections to a waypoint without ready pods, given by ${name}, are refused; no plaintext is sent`, async () => {
      const empty = serviceOf({
        name: `empty-${name.replace(' ', '-').toLowerCase()}`,
        vips: lab.serviceAddress(),
        ports: { 15008: 15008 },
      });
      // Its only pod is not ready.
      const { workload } = await mesh.pod({
        name: `unready-${name.replace(' ', '-').toLowerCase()}`,
        captured: false,
      });
      await mesh.apply(empty, {
        ...workload,
        status: 'Unhealthy',
        services: new Map([[keyOf(empty), new Map([[15008, 15008]])]]),
      });
      const service = await publish(`behind-${empty.name}`, how(empty));
      const before = (await server.pod.counts()).map(({ connections }) => connections);
      const from = await mesh.proxyOf(client).watch();
      for (const family of families) {
        assert.deepEqual(await attempt(client, vip(service, family), 80), { how: 'cut', bytes: '' });
      }
      for (const { level } of await from.access('outbound', 2)) assert.notEqual(level, 'info');
      assert.deepEqual(
        (await server.pod.counts()).map(({ connections }) => connections),
        before,
      );
    });
  }
});

describe('sandwiched waypoints', () => {
  for (const protocol of ['NONE', 'PROXY'] as const) {
    for (const variant of ['iptables', 'nftables'] as const) {
      test(`NSP-08: connections pass a captured waypoint with application tunnel ${protocol} (${variant})`, async () => {
        const name = `sandwich-${protocol.toLowerCase()}-${variant}`;
        const { pod } = await mesh.pod({
          name,
          captured: { variant },
          workload: { applicationTunnel: { protocol, port: 15088 } },
        });
        const seen: { peer: string; proxy: Awaited<ReturnType<typeof readProxyHeader>> | undefined }[] = [];
        const application = await listenIn(pod, { address: '::', port: 15088 }, async (inside: Socket) => {
          const proxy = protocol === 'PROXY' ? await readProxyHeader(inside) : undefined;
          seen.push({ peer: (inside.remoteAddress ?? '').replace(/^::ffff:/, ''), proxy });
          const family = seen.length === 1 ? 'v4' : 'v6';
          const onward = await connectFrom(pod, { host: server.pod.addresses[family], port: 8080 });
          inside.pipe(onward).pipe(inside);
        });
        for (const family of families) {
          const through = pod.addresses[family];
          const service = await publish(`${name}-${family}`, byAddress(through));
          const at = await mesh.proxyOf(server.pod).watch();
          await echo(client, vip(service, family), 80);
          const last = seen.at(-1);
          if (protocol === 'NONE') {
            assert.equal(last?.peer, client.addresses[family], 'the source is preserved');
          } else {
            assert.match(last?.peer ?? '', /^(127\.0\.0\.1|::1)$/, 'delivered to loopback');
            assert.equal(last?.proxy?.source, client.addresses[family]);
            assert.equal(last?.proxy?.destination, endpointText(vip(service, family), 80));
            assert.equal(last?.proxy?.identity, spiffe(client));
          }
          assertFields(await at.line('inbound'), {
            'src.identity': spiffe(pod),
            bytes_recv: '11',
            bytes_sent: '22',
          });
        }
        application.close();
      });
    }
  }
});
