import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Workload } from '@kmesh/api';
import {
  createAuthority,
  type HboneClient,
  openHbone,
  openPeerTls,
  type PeerTlsOptions,
  type Pod,
  serviceOf,
} from '@kmesh/lab';
import { TestAuthority, uri } from '@kmesh/lab/testing/tunnel/authority.ts';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, doubleEcho, listen, readExactly, until } from '@kmesh/lab/testing/tunnel/traffic.ts';

let mesh: TestMesh;
let client: { pod: Pod; workload: Workload };
let server: { pod: Pod; workload: Workload };

before(async () => {
  mesh = await startTestMesh({ nodes: 1 });
  client = await mesh.pod({ captured: false, name: 'client' });
  server = await mesh.pod({ name: 'server' });
  mesh.own(await listen(server.pod, 8080, doubleEcho));
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

async function hbone(to = server.pod.addresses.v4, options: PeerTlsOptions = {}): Promise<HboneClient> {
  const socket = await connect(client.pod, to, 15008);
  return mesh.own(await openHbone(socket, { identity: mesh.authority.issue(client.workload), ...options }));
}

async function status(authority: string, headers = {}, to?: string): Promise<number> {
  using peer = await hbone(to);
  return (await peer.request(authority, headers)).status;
}

/** Waits for the early-deny line, and that no connection was counted. */
async function denied(pattern: RegExp): Promise<void> {
  const deny = await mesh.records.wait(() => mesh.records.denies.find(({ error }) => pattern.test(error)));
  assert.equal(deny.reporter, 'destination');
  assert.equal(mesh.records.connections.length, 0);
}

describe('inbound HBONE', () => {
  test('INB-11: an authority that is the client itself is refused, and both addresses are logged', async () => {
    mesh.clear();
    assert.equal(await status(`${client.pod.addresses.v4}:8080`), 400);
    await denied(new RegExp(`${client.pod.addresses.v4}:8080.*${server.pod.addresses.v4}:15008`));
  });

  test('INB-12: a hostname authority reaches numeric and named ports', async () => {
    const service = serviceOf({ name: 'web', vips: mesh.lab.serviceAddress(), ports: { 80: 8080, 81: 0 } });
    const key = `${service.namespace}/${service.hostname}`;
    mesh.apply(service, {
      ...server.workload,
      services: new Map([
        [
          key,
          new Map([
            [80, 8080],
            [81, 8080],
          ]),
        ],
      ]),
    });
    for (const port of [80, 81]) {
      using peer = await hbone();
      const answer = await peer.request(`${service.hostname}:${port}`);
      assert.equal(answer.status, 200);
      answer.stream.write('hello world');
      const data = await new Promise<Buffer>((resolve) => answer.stream.once('data', resolve));
      assert.equal(data.toString(), 'hello worldhello world');
    }
    mesh.apply(server.workload);
  });

  test('INB-13: an unknown host, an undeclared port and an unmapped named port are 503', async () => {
    const service = serviceOf({ name: 'odd', vips: mesh.lab.serviceAddress(), ports: { 80: 0 } });
    mesh.apply(service);
    mesh.clear();
    assert.equal(await status('nobody.example.com:80'), 503);
    assert.equal(await status(`${service.hostname}:99`), 503);
    assert.equal(await status(`${service.hostname}:80`), 503);
    await denied(/./);
  });

  test('INB-14: the ports of the proxy itself are 503', async () => {
    mesh.clear();
    for (const port of [15001, 15006, 15008]) {
      assert.equal(await status(`${server.pod.addresses.v4}:${port}`), 503, `port ${port}`);
    }
    await denied(/own/);
  });

  test('INB-15: GET and an authority without a port are 400', async () => {
    mesh.clear();
    assert.equal(await status('foo'), 400);
    using peer = await hbone();
    const get = await peer.request(`${server.pod.addresses.v4}:8080`, {
      ':method': 'GET',
      ':scheme': 'https',
      ':path': '/',
    });
    assert.equal(get.status, 400);
    await denied(/./);
  });

  test('INB-16: an ALLOW policy for another principal is 401 with flag DENY', async () => {
    mesh.clear();
    mesh.apply({
      kind: 'policy',
      policy: {
        name: 'other',
        namespace: 'default',
        scope: 'Namespace',
        action: 'Allow',
        rules: [[[{ principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/other' }] }]]],
        dryRun: false,
      },
    });
    assert.equal(await status(`${server.pod.addresses.v4}:8080`), 401);
    const record = await mesh.records.closed('destination');
    assert.equal(record.end.flag, 'DENY');
    mesh.apply({ kind: 'removePolicy', key: 'default/other' });
  });

  test('INB-17: a closed application port is 503 with flag CONNECT, and no 200 before', async () => {
    mesh.clear();
    assert.equal(await status(`${server.pod.addresses.v4}:8081`), 503);
    const record = await mesh.records.closed('destination');
    assert.equal(record.end.flag, 'CONNECT');
    assert.match(record.end.error ?? '', /ECONNREFUSED/);
  });

  test('INB-18: success carries the baggage of the destination, errors and ENABLE_RESPONSE_BAGGAGE=false do not', async () => {
    using peer = await hbone();
    const good = await peer.request(`${server.pod.addresses.v4}:8080`);
    assert.equal(good.status, 200);
    assert.match(String(good.headers['baggage']), /k8s\.pod\.name=server/);
    const bad = await peer.request(`${server.pod.addresses.v4}:8081`);
    assert.equal(bad.headers['baggage'], undefined);

    await using silent = await startTestMesh({ nodes: 1, settings: { responseBaggage: false } });
    const from = await silent.pod({ captured: false });
    const to = await silent.pod();
    silent.own(await listen(to.pod, 8080, doubleEcho));
    const socket = await connect(from.pod, to.pod.addresses.v4, 15008);
    using other = await openHbone(socket, { identity: silent.authority.issue(from.workload) });
    const quiet = await other.request(`${to.pod.addresses.v4}:8080`);
    assert.equal(quiet.status, 200);
    assert.equal(quiet.headers['baggage'], undefined);
  });

  test('INB-19: no certificate, another trust domain and another root fail the handshake and change no metric', async () => {
    mesh.clear();
    const stranger = new TestAuthority(createAuthority());
    stranger.roots = [mesh.authority.authority.rootPem];
    const identities: [string, PeerTlsOptions][] = [
      ['no certificate', { rootsPem: [mesh.authority.authority.rootPem] }],
      ['another trust domain', { identity: mesh.authority.make('spiffe://elsewhere/ns/default/sa/x') }],
      ['another root', { identity: stranger.make(uri(client.workload)) }],
      [
        'expired',
        {
          identity: mesh.authority.make(uri(client.workload), {
            notBefore: new Date(Date.now() - 7_200_000),
            notAfter: new Date(Date.now() - 3_600_000),
          }),
        },
      ],
    ];
    for (const [what, options] of identities) {
      const { identity: _, ...rest } = { identity: undefined, ...options };
      const socket = await connect(client.pod, server.pod.addresses.v4, 15008);
      const opened = openHbone(
        socket,
        options.identity === undefined ? rest : { identity: options.identity },
      );
      await assert.rejects(
        opened.then(async (peer) => {
          mesh.own(peer);
          await peer.ready();
        }),
        what,
      );
    }
    await mesh.records.wait(() => mesh.records.denies.length === identities.length);
    await denied(/TLS/);
  });

  test('INB-20: HTTP/1.1 and a client without ALPN are refused', async () => {
    for (const alpn of [['http/1.1'], []]) {
      const socket = await connect(client.pod, server.pod.addresses.v4, 15008);
      const identity = mesh.authority.issue(client.workload);
      const opened = openPeerTls(socket, { identity, alpn });
      await assert.rejects(
        opened.then(
          (tls) =>
            new Promise((resolve, reject) => {
              tls.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
              tls.once('data', resolve);
              tls.once('error', reject);
              tls.once('close', () => reject(new Error('closed')));
            }),
        ),
      );
    }
  });

  test('INB-21: the application sees the IP of the client pod', async () => {
    const listening = mesh.own(await listen(server.pod, 8090, doubleEcho));
    for (const family of ['v4', 'v6'] as const) {
      const to = server.pod.addresses[family];
      using peer = await hbone(to);
      const authority = family === 'v4' ? `${to}:8090` : `[${to}]:8090`;
      assert.equal((await peer.request(authority)).status, 200);
      await until(() => listening.seen.peers.includes(client.pod.addresses[family]));
    }
    listening.close();
  });

  test('INB-22: when client and server are the same IP, a local address is used', async () => {
    const listening = mesh.own(await listen(server.pod, 8091, doubleEcho));
    const socket = await connect(server.pod, server.pod.addresses.v4, 15008);
    using peer = await openHbone(socket, { identity: mesh.authority.issue(server.workload) });
    const answer = await peer.request(`${server.pod.addresses.v4}:8091`);
    assert.equal(answer.status, 200);
    answer.stream.write('hello world');
    await new Promise((resolve) => answer.stream.once('data', resolve));
    assert.equal(listening.seen.peers.length, 1);
    listening.close();
  });

  test('INB-23: more connections than there are ephemeral ports for one source', async () => {
    // Two destinations can share the pod's 100 ports only because ports are chosen at connect.
    await server.pod.run('sysctl', ['-qw', 'net.ipv4.ip_local_port_range=40000 40099']);
    const listening = [
      mesh.own(await listen(server.pod, 8092, () => undefined)),
      mesh.own(await listen(server.pod, 8093, () => undefined)),
    ];
    using peer = await hbone();
    using second = await hbone();
    const answers = await Promise.all(
      Array.from({ length: 160 }, (_, at) =>
        (at % 2 === 0 ? peer : second).request(`${server.pod.addresses.v4}:${8092 + (at % 2)}`),
      ),
    );
    assert.deepEqual(new Set(answers.map((answer) => answer.status)), new Set([200]));
    const peers = listening.flatMap(({ seen }) => seen.peers);
    assert.deepEqual(new Set(peers), new Set([client.pod.addresses.v4]));
    await server.pod.run('sysctl', ['-qw', 'net.ipv4.ip_local_port_range=32768 60999']);
    for (const { close } of listening) close();
  });

  test('INB-24, IST-18: a PROXY tunnel gets a version 2 header with addresses and identity, on loopback or at the pod', async () => {
    const identity = uri(client.workload);
    for (const onLoopback of [true, false]) {
      await using tunnelled = await startTestMesh({
        nodes: 1,
        settings: { localhostApplicationTunnel: onLoopback },
      });
      const from = await tunnelled.pod({ captured: false, name: 'client' });
      const proxied = await tunnelled.pod({
        workload: { applicationTunnel: { protocol: 'PROXY', port: 15088 } },
      });
      for (const family of ['v4', 'v6'] as const) {
        const size = family === 'v4' ? 12 : 36;
        const got = Promise.withResolvers<Buffer>();
        const address = onLoopback ? (family === 'v4' ? '127.0.0.1' : '::1') : proxied.pod.addresses[family];
        const listening = tunnelled.own(
          await listen(
            proxied.pod,
            15088,
            (accepted) => {
              readExactly(accepted, 16 + size + 3 + identity.length + 7).then(got.resolve, got.reject);
            },
            address,
          ),
        );
        const socket = await connect(from.pod, proxied.pod.addresses[family], 15008);
        const { port } = socket.address() as { port: number };
        using peer = await openHbone(socket, { identity: tunnelled.authority.issue(from.workload) });
        const target = family === 'v4' ? '10.99.0.1' : 'fd00:99::1';
        const answer = await peer.request(family === 'v4' ? `${target}:8080` : `[${target}]:8080`);
        assert.equal(answer.status, 200);
        answer.stream.write('payload');
        const header = await got.promise;
        assert.equal(header.subarray(0, 12).toString('hex'), '0d0a0d0a000d0a515549540a');
        assert.equal(header[12], 0x21);
        assert.equal(header[13], family === 'v4' ? 0x11 : 0x21);
        assert.equal(header.readUInt16BE(14), size + 3 + identity.length);
        const width = family === 'v4' ? 4 : 16;
        assert.equal(header.readUInt16BE(16 + 2 * width), port);
        assert.equal(header.readUInt16BE(16 + 2 * width + 2), 8080);
        if (family === 'v4') {
          assert.equal([...header.subarray(16, 20)].join('.'), from.pod.addresses.v4);
          assert.equal([...header.subarray(20, 24)].join('.'), target);
        }
        assert.equal(header[16 + size], 0xd0);
        assert.equal(header.subarray(16 + size + 3).toString(), `${identity}payload`);
        const wanted = onLoopback ? (family === 'v4' ? '127.0.0.1' : '::1') : from.pod.addresses[family];
        assert.deepEqual(listening.seen.peers, [wanted]);
        listening.close();
      }
    }
  });

  test('INB-25: a NONE tunnel is a plain stream to the tunnel port, with the source kept', async () => {
    const tunnelled = await mesh.pod({ workload: { applicationTunnel: { protocol: 'NONE', port: 15088 } } });
    const listening = mesh.own(await listen(tunnelled.pod, 15088, doubleEcho));
    const socket = await connect(client.pod, tunnelled.pod.addresses.v4, 15008);
    using peer = await openHbone(socket, { identity: mesh.authority.issue(client.workload) });
    const answer = await peer.request(`10.99.0.1:8080`);
    assert.equal(answer.status, 200);
    answer.stream.write('hello world');
    const data = await new Promise<Buffer>((resolve) => answer.stream.once('data', resolve));
    assert.equal(data.toString(), 'hello worldhello world');
    assert.deepEqual(listening.seen.peers, [client.pod.addresses.v4]);
    listening.close();
  });

  test('INB-26: a foreign x-forwarded-network takes the source from baggage only', async () => {
    await using networked = await startTestMesh({ nodes: 1, network: 'near' });
    const from = await networked.pod({ captured: false });
    const to = await networked.pod();
    networked.own(await listen(to.pod, 8080, doubleEcho));
    for (const [network, known] of [
      ['far', false],
      ['NEAR', true],
    ] as const) {
      networked.clear();
      const socket = await connect(from.pod, to.pod.addresses.v4, 15008);
      using peer = await openHbone(socket, { identity: networked.authority.issue(from.workload) });
      const answer = await peer.request(`${to.pod.addresses.v4}:8080`, {
        'x-forwarded-network': network,
        baggage: 'k8s.namespace.name=there,k8s.deployment.name=caller',
      });
      assert.equal(answer.status, 200);
      const [record] = networked.records.connections;
      assert.equal(record?.start.source?.uid, known ? from.workload.uid : undefined, network);
      assert.equal(record?.start.derivedSource?.workloadName, 'caller');
    }
  });
});
