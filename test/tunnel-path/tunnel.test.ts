import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { Workload } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import { type Pod, serveWaypoint, serviceOf } from '@kmesh/lab';
import { gatewayed, withService } from '@kmesh/lab/testing/tunnel/gateway.ts';
import { startTestMesh, type TestMesh, type TestMeshOptions } from '@kmesh/lab/testing/tunnel/mesh.ts';
import {
  connect,
  doubleEcho,
  ending,
  fate,
  hello,
  listen,
  readExactly,
  until,
} from '@kmesh/lab/testing/tunnel/traffic.ts';

interface Member {
  pod: Pod;
  workload: Workload;
}

const families = ['v4', 'v6'] as const;
const variants: TestMeshOptions[] = [
  { redirect: { variant: 'iptables' } },
  { redirect: { variant: 'nftables' } },
];

for (const options of variants) {
  const variant = options.redirect?.variant;
  describe(`two nodes, ${variant}`, () => {
    let mesh: TestMesh;
    let client: Member;
    let near: Member;
    let far: Member;
    let plain: Member;

    before(async () => {
      mesh = await startTestMesh({ nodes: 2, ...options });
      client = await mesh.pod({ name: 'client' });
      near = await mesh.pod({ name: 'near' });
      far = await mesh.pod({ name: 'far', node: 1 });
      plain = await mesh.pod({ name: 'plain', node: 1, captured: false });
      for (const { pod } of [near, far, plain, client]) mesh.own(await listen(pod, 8080, doubleEcho));
    });
    after(async () => {
      await mesh[Symbol.asyncDispose]();
    });

    for (const family of families) {
      for (const [row, from, to, node] of [
        ['NSP-01, KME-02', () => client, () => near, 0],
        ['NSP-02', () => client, () => far, 1],
      ] as const) {
        test(`${row}: pod to pod, HBONE, counted alike on both sides (IP${family})`, async () => {
          mesh.clear();
          assert.equal(await hello(from().pod, to().pod.addresses[family], 8080), 'hello worldhello world');
          const outbound = await mesh.proxy(0).records.closed('source');
          const inbound = await mesh.proxy(node).records.closed('destination');
          for (const { start, end } of [outbound, inbound]) {
            assert.equal(start.securityPolicy, 'mutual_tls');
            assert.equal(start.source?.uid, from().workload.uid);
            assert.equal(start.destination?.uid, to().workload.uid);
            assert.equal(end.flag, '-');
            assert.deepEqual([end.bytesFromClient, end.bytesFromServer], [11, 22]);
          }
          assert.equal(inbound.start.sourceIdentity?.serviceAccount, 'sa-client');
        });
      }

      test(`NSP-03, IST-08: pod to a destination outside the mesh, plain TCP (IP${family})`, async () => {
        mesh.clear();
        assert.equal(await hello(client.pod, plain.pod.addresses[family], 8080), 'hello worldhello world');
        const { start, end } = await mesh.records.closed('source');
        assert.equal(start.securityPolicy, 'unknown');
        assert.equal(start.sourceIdentity, undefined);
        assert.deepEqual([end.bytesFromClient, end.bytesFromServer], [11, 22]);
      });

      test(`NSP-04: a client outside the mesh, real source IP (IP${family})`, async () => {
        mesh.clear();
        const listening = mesh.own(await listen(near.pod, 8081, doubleEcho));
        assert.equal(await hello(plain.pod, near.pod.addresses[family], 8081), 'hello worldhello world');
        assert.deepEqual(listening.seen.peers, [plain.pod.addresses[family]]);
        const { end } = await mesh.records.closed('destination');
        assert.deepEqual([end.bytesFromClient, end.bytesFromServer], [11, 22]);
        listening.close();
      });

      test(`NSP-14: a pod that calls its own IP is not captured (IP${family})`, async () => {
        mesh.clear();
        assert.equal(await hello(client.pod, client.pod.addresses[family], 8080), 'hello worldhello world');
        assert.equal(mesh.records.connections.length, 0);
      });

      test(`NEG-19: a service reached by its VIP (IP${family})`, async () => {
        const service = serviceOf({
          name: `web-${family}`,
          vips: mesh.lab.serviceAddress(),
          ports: { 80: 8080 },
        });
        mesh.apply(service, withService(far.workload, service));
        const vip = service.vips[family === 'v4' ? 0 : 1]?.ip ?? '';
        mesh.clear();
        assert.equal(await hello(client.pod, vip, 80), 'hello worldhello world');
        const { start } = await mesh.proxy(1).records.closed('destination');
        assert.equal(start.destinationService?.hostname, service.hostname);
      });
    }

    test('NSP-20, NSP-21, NSP-24, NSP-26: connections to the proxy’s own ports are closed without effect', async () => {
      const gateway = mesh.proxy(0).node.addresses.v4;
      const outcome = async (from: Pod, to: string, port: number): Promise<'C' | 'R'> => {
        const how = await fate(from, to, port);
        assert.notEqual(how, 'open', `${to}:${port} hangs`);
        if (how === 'refused') return 'C';
        return 'R';
      };
      for (const port of [15001, 15006, 15008]) {
        assert.equal(await outcome(client.pod, gateway, port), 'R', `node ${port} from a captured pod`);
        assert.equal(await outcome(plain.pod, gateway, port), 'C', `node ${port} from outside`);
        for (const from of [client.pod, plain.pod]) {
          assert.equal(await outcome(from, near.pod.addresses.v4, port), 'R', `pod ${port}`);
        }
        assert.equal(await outcome(client.pod, '127.0.0.1', port), 'R', `loopback ${port}`);
      }
      assert.ok(mesh.records.denies.length > 0);
    });

    test('NSP-25, NSP-27: ports of the proxy process are not reachable in a pod', async () => {
      for (const port of [15080, 15000, 15020, 15021]) {
        await assert.rejects(connect(client.pod, '127.0.0.1', port), /ECONNREFUSED/);
        await assert.rejects(connect(client.pod, client.pod.addresses.v4, port), /ECONNREFUSED/);
      }
    });
  });
}

describe('waypoints and gateways', () => {
  let mesh: TestMesh;
  let client: Member;
  let server: Member;

  before(async () => {
    mesh = await startTestMesh({ nodes: 2 });
    client = await mesh.pod({ name: 'client' });
    server = await mesh.pod({ name: 'server', node: 1 });
    mesh.own(await listen(server.pod, 8080, doubleEcho));
  });
  after(async () => {
    await mesh[Symbol.asyncDispose]();
  });

  /** A waypoint pod without Kmesh: the lab's independent waypoint, which forwards requests over HBONE. */
  async function waypoint(
    network = '',
  ): Promise<
    Member & { requests: () => readonly { authority: string; clientNames: string; remoteAddress: string }[] }
  > {
    const made = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE', network } });
    const serving = mesh.own(
      await serveWaypoint(made.pod, {
        identity: mesh.authority.issue(made.workload),
        route: () => ({ ip: server.pod.addresses.v4, port: 8080, hbone: true }),
      }),
    );
    return { ...made, requests: () => serving.requests };
  }

  test('NSP-06: a workload waypoint gets the original destination, and the log names it', async () => {
    const way = await waypoint();
    mesh.apply({
      ...server.workload,
      waypoint: {
        destination: { kind: 'address', network: '', ip: way.pod.addresses.v4 },
        hboneMtlsPort: 15008,
      },
    });
    mesh.clear();
    assert.equal(await hello(client.pod, server.pod.addresses.v4, 8080), 'hello worldhello world');
    const { start } = await mesh.records.closed('source');
    assert.equal(start.destinationAddress, `${way.pod.addresses.v4}:15008`);
    assert.equal(start.hboneAddress, `${server.pod.addresses.v4}:8080`);
    assert.equal(start.destination?.uid, way.workload.uid);
    assert.match(way.requests()[0]?.clientNames ?? '', /sa-client/);
    assert.equal(way.requests()[0]?.remoteAddress, client.pod.addresses.v4);
    mesh.apply(server.workload);
  });

  test('NSP-07, NEG-22: a service waypoint by VIP, by service hostname and by workload hostname', async () => {
    const way = await waypoint();
    const wayService = serviceOf({ name: 'way', vips: mesh.lab.serviceAddress(), ports: { 15008: 15008 } });
    const named = { ...withService(way.workload, wayService), hostname: 'way.workload.example' };
    for (const destination of [
      { kind: 'address', network: '', ip: wayService.vips[0]?.ip ?? '' },
      { kind: 'hostname', namespace: 'default', hostname: wayService.hostname },
      { kind: 'hostname', namespace: 'default', hostname: 'way.workload.example' },
    ] as const) {
      const service = serviceOf({
        name: 'fronted',
        vips: mesh.lab.serviceAddress(),
        ports: { 80: 8080 },
        waypoint: { destination, hboneMtlsPort: 15008 },
      });
      mesh.apply(wayService, named, service, withService(server.workload, service));
      const before = way.requests().length;
      const vip = service.vips[0]?.ip ?? '';
      assert.equal(await hello(client.pod, vip, 80), 'hello worldhello world');
      assert.equal(way.requests()[before]?.authority, `${vip}:80`);
    }
    mesh.apply(server.workload);
  });

  for (const protocol of ['NONE', 'PROXY'] as const) {
    test(`NSP-08: a sandwiched waypoint, ${protocol}`, async () => {
      const way = await mesh.pod({ node: 1, workload: { applicationTunnel: { protocol, port: 15088 } } });
      // The gateway in the pod reads the bytes (after a PROXY header) and answers them itself.
      mesh.own(
        await listen(way.pod, 15088, (socket: Socket) => {
          let skip = protocol === 'PROXY' ? -1 : 0;
          socket.on('data', (chunk: Buffer) => {
            let rest = chunk;
            if (skip < 0) {
              skip = 0;
              rest = chunk.subarray(16 + chunk.readUInt16BE(14));
            }
            if (rest.length > 0) socket.write(Buffer.concat([rest, rest]));
          });
          socket.on('end', () => socket.end());
        }),
      );
      const service = serviceOf({
        name: `sandwich-${protocol.toLowerCase()}`,
        vips: mesh.lab.serviceAddress(),
        ports: { 80: 8080 },
        waypoint: {
          destination: { kind: 'address', network: '', ip: way.pod.addresses.v4 },
          hboneMtlsPort: 15008,
        },
      });
      mesh.apply(service, withService(server.workload, service));
      assert.equal(await hello(client.pod, service.vips[0]?.ip ?? '', 80), 'hello worldhello world');
      mesh.apply(server.workload);
    });
  }

  test('NEG-23: connections to a waypoint without ready pods are refused, and no plaintext is sent', async () => {
    const service = serviceOf({
      name: 'unready',
      vips: mesh.lab.serviceAddress(),
      ports: { 80: 8080 },
      waypoint: {
        destination: { kind: 'hostname', namespace: 'default', hostname: 'nobody.example' },
        hboneMtlsPort: 15008,
      },
    });
    mesh.apply(service, withService(server.workload, service));
    mesh.clear();
    assert.equal(await fate(client.pod, service.vips[0]?.ip ?? '', 80), 'closed');
    assert.equal(mesh.records.denies.length, 1);
    assert.match(mesh.records.denies[0]?.error ?? '', /nobody\.example/);
    mesh.apply(server.workload);
  });

  for (const by of ['ip', 'hostname'] as const) {
    test(`${by === 'ip' ? 'HBN-15' : 'HBN-16'}: double HBONE, gateway by ${by}`, async () => {
      const { service, gateway, final, port, inner } = await gatewayed(mesh, `remote-${by}`, by, []);
      mesh.clear();
      assert.equal(await hello(client.pod, service.vips[0]?.ip ?? '', 8080), 'hello worldhello world');
      const { start, end } = await mesh.records.closed('source');
      assert.equal(start.destinationAddress, `${gateway.pod.addresses.v4}:${port}`);
      assert.equal(start.hboneAddress, `${service.hostname}:8080`);
      assert.equal(start.derivedDestination?.workloadName, 'final');
      assert.equal(start.destinationIdentity?.serviceAccount, final.pod.serviceAccount);
      assert.deepEqual([end.bytesFromClient, end.bytesFromServer], [11, 22]);
      assert.match(inner.requests[0]?.clientNames ?? '', /sa-client/);
    });
  }

  for (const [layer, lost] of [
    ['the gateway', { gateway: 3, final: 0 }],
    ['the final server', { gateway: 0, final: 3 }],
    ['either', { gateway: 1, final: 2 }],
  ] as const) {
    test(`HBN-15: if ${layer} loses its connection before an answer, another one is tried`, async () => {
      const { service, losses } = await gatewayed(mesh, `lossy-${layer.replaceAll(' ', '-')}`, 'ip');
      Object.assign(losses, lost);
      mesh.clear();
      assert.equal(await hello(client.pod, service.vips[0]?.ip ?? '', 8080), 'hello worldhello world');
      const { end } = await mesh.records.closed('source');
      assert.deepEqual([end.flag, end.bytesFromClient, end.bytesFromServer], ['-', 11, 22]);
    });
  }

  test('HBN-17: a final server whose identity is not in the service’s names is refused', async () => {
    const { service } = await gatewayed(mesh, 'foreign', 'ip', [
      'spiffe://cluster.local/ns/default/sa/somebody-else',
    ]);
    mesh.clear();
    assert.equal(await fate(client.pod, service.vips[0]?.ip ?? '', 8080), 'closed');
    const { end } = await mesh.records.closed('source');
    assert.equal(end.flag, 'TLS_FAILURE');
    assert.match(end.error ?? '', /identities/);
  });

  test('NSP-11: a client of another trust domain is closed', async () => {
    const foreign = await mesh.pod({ workload: { trustDomain: 'elsewhere' } });
    mesh.clear();
    assert.equal(await fate(foreign.pod, server.pod.addresses.v4, 8080), 'closed');
    const { end } = await mesh.records.closed('source');
    assert.notEqual(end.flag, '-');
  });

  test('without a certificate the connection fails with flag IDENTITY_ERROR, never as plaintext', async () => {
    await using lost = await startTestMesh({ nodes: 1 });
    lost.authority.failure = new Error('istiod does not know this pod yet');
    const from = await lost.pod();
    const to = await lost.pod();
    assert.equal(await fate(from.pod, to.pod.addresses.v4, 8080), 'closed');
    const { end } = await lost.records.closed('source');
    assert.equal(end.flag, 'IDENTITY_ERROR');
    assert.match(end.error ?? '', /istiod/);
  });

  test('NEG-33, NEG-34: another trust domain and a set network do not change policies', async () => {
    await using other = await startTestMesh({ nodes: 1, network: 'nw1', trustDomain: 'example.org' });
    const from = await other.pod({ serviceAccount: 'default' });
    const to = await other.pod();
    other.own(await listen(to.pod, 8080, doubleEcho));
    const allow = (value: string) =>
      ({
        kind: 'policy',
        policy: {
          name: 'p',
          namespace: 'default',
          scope: 'Namespace',
          action: 'Allow',
          rules: [[[{ principals: [{ kind: 'Exact', value }] }]]],
          dryRun: false,
        },
      }) as const;
    other.apply(allow('example.org/ns/default/sa/default'));
    assert.equal(await hello(from.pod, to.pod.addresses.v4, 8080), 'hello worldhello world');
    const { start } = await other.records.closed('destination');
    assert.equal(start.source?.uid, from.workload.uid);
    other.apply(allow('cluster.local/ns/default/sa/default'));
    await assert.rejects(hello(from.pod, to.pod.addresses.v4, 8080));
  });
});

describe('drain and hand-over', () => {
  test('NSP-09, PRC-08: during a drain an open connection continues and new ones fail', async () => {
    await using mesh = await startTestMesh({ nodes: 1 });
    const client = await mesh.pod();
    const server = await mesh.pod();
    mesh.own(await listen(server.pod, 8080, doubleEcho));
    const open = await connect(client.pod, server.pod.addresses.v4, 8080);
    open.write('hello world');
    await readExactly(open, 22);
    const drained = mesh.proxy(0).tunnel.drain(20_000);
    await eventually('it accepts nothing new', () =>
      hello(client.pod, server.pod.addresses.v4, 8080).then(
        () => false,
        () => true,
      ),
    );
    open.write('still going');
    await readExactly(open, 22);
    await assert.rejects(hello(client.pod, server.pod.addresses.v4, 8080));
    const began = performance.now();
    open.destroy();
    await drained;
    assert.ok(performance.now() - began < 2_000);
  });

  test('NSP-10: a removed pod accepts nothing new and its established connections fail', async () => {
    await using mesh = await startTestMesh({ nodes: 2 });
    const client = await mesh.pod({ node: 0 });
    const server = await mesh.pod({ node: 1 });
    mesh.own(await listen(server.pod, 8080, doubleEcho));
    const open = await connect(client.pod, server.pod.addresses.v4, 8080);
    open.write('hello world');
    await readExactly(open, 22);
    mesh.proxy(1).tunnel.removePod(server.pod.uid);
    const ended = ending(open);
    assert.equal(await ended, 'reset');
    assert.equal(await fate(client.pod, server.pod.addresses.v4, 8080), 'closed');
  });

  test('ZDS-20: while a second proxy takes over under load ≥ 99.9 % of new connections succeed, and none is closed', {
    timeout: 60_000,
  }, async () => {
    await using mesh = await startTestMesh({ nodes: 1 });
    const client = await mesh.pod({ captured: true });
    const server = await mesh.pod({ captured: true });
    mesh.own(await listen(server.pod, 8080, doubleEcho));
    const old = mesh.proxy(0);
    const held = await connect(client.pod, server.pod.addresses.v4, 8080);
    held.write('hello world');
    await readExactly(held, 22);
    let tried = 0;
    let failed = 0;
    let running = true;
    const worker = async (): Promise<void> => {
      while (running) {
        tried += 1;
        await hello(client.pod, server.pod.addresses.v4, 8080).catch(() => {
          failed += 1;
        });
      }
    };
    const workers = Array.from({ length: 8 }, worker);
    const more = async (): Promise<void> => {
      const before = tried;
      await until(() => tried > before + 100);
    };
    await more();
    const next = mesh.startProxy(old.node);
    mesh.apply(client.workload, server.workload);
    for (const { pod } of [client, server]) mesh.serve(next, pod);
    await until(() => next.records.connections.length > 20);
    const drained = old.tunnel.drain(10_000);
    await more();
    await more();
    held.write('still there');
    await readExactly(held, 22);
    held.destroy();
    await drained;
    await more();
    running = false;
    await Promise.all(workers);
    assert.ok(tried > 400, `${tried} tried`);
    assert.ok(failed <= tried / 1000, `${failed} of ${tried} failed`);
    assert.ok(next.records.connections.length > 100);
  });
});
