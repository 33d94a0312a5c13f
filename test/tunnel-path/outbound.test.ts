import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { Service, Workload } from '@kmesh/api';
import { type HboneServer, installRedirect, type Pod, serveHbone, serviceOf } from '@kmesh/lab';
import { uri } from '@kmesh/lab/testing/tunnel/authority.ts';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
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
import { resolveSettings } from '@kmesh/tunnel';

interface Member {
  pod: Pod;
  workload: Workload;
}

/** A service with one endpoint that has no address, only a host name. */
function named(mesh: TestMesh, hostname: string, like: Workload): Service {
  const name = hostname.replaceAll('.', '-');
  const service = serviceOf({ name, vips: mesh.lab.serviceAddress(), ports: { 80: 8080 } });
  mesh.apply(service, {
    ...like,
    uid: `cluster//named/${name}`,
    name,
    addresses: [],
    hostname,
    services: new Map([[`${service.namespace}/${service.hostname}`, new Map([[80, 8080]])]]),
  });
  return service;
}

function vipOf(service: Service, family: 'v4' | 'v6'): string {
  return service.vips[family === 'v4' ? 0 : 1]?.ip ?? '';
}

describe('workloads with only a hostname', () => {
  let mesh: TestMesh;
  let client: Member;
  let far: Member;
  const answers = new Map<string, () => Promise<readonly string[]>>();
  const asked: string[] = [];

  before(async () => {
    mesh = await startTestMesh({
      nodes: 2,
      resolveHostname: (hostname) => {
        asked.push(hostname);
        return answers.get(hostname)?.() ?? Promise.reject(new Error(`ENOTFOUND ${hostname}`));
      },
    });
    client = await mesh.pod({ name: 'client' });
    far = await mesh.pod({ name: 'far', node: 1 });
    mesh.own(await listen(far.pod, 8080, doubleEcho));
  });
  after(async () => {
    await mesh[Symbol.asyncDispose]();
  });

  function clear(): void {
    mesh.clear();
    asked.length = 0;
    mesh.proxy(0).resolutions.length = 0;
  }

  for (const family of ['v4', 'v6'] as const) {
    test(`OUT-29: two calls of a hostname are delivered and counted as two resolutions (IP${family})`, async () => {
      const hostname = `far-${family}.example.org`;
      const { v4, v6 } = far.pod.addresses;
      answers.set(hostname, async () => [v6, v4]);
      const vip = vipOf(named(mesh, hostname, far.workload), family);
      clear();
      for (let call = 0; call < 2; call++) {
        assert.equal(await hello(client.pod, vip, 80), 'hello worldhello world');
      }
      assert.deepEqual(mesh.proxy(0).resolutions, [hostname, hostname]);
      assert.deepEqual(asked, [hostname], 'the second call uses the answer of the first');
      const { start, end } = await mesh.records.closed('source');
      const ip = family === 'v4' ? v4 : `[${v6}]`;
      assert.equal(start.destinationAddress, `${ip}:15008`, 'the family of the call is preferred');
      assert.equal(start.hboneAddress, `${ip}:8080`);
      assert.equal(start.destination?.hostname, hostname);
      assert.deepEqual([end.flag, end.bytesFromClient, end.bytesFromServer], ['-', 11, 22]);
    });
  }

  test("OUT-29: the node's resolver is the default", async () => {
    await using own = await startTestMesh({ nodes: 1 });
    const caller = await own.pod({ name: 'caller' });
    own.own(await listen(caller.pod, 8080, doubleEcho));
    const service = named(own, 'localhost', { ...caller.workload, protocol: 'TCP' });
    for (const family of ['v4', 'v6'] as const) {
      assert.equal(await hello(caller.pod, vipOf(service, family), 80), 'hello worldhello world');
    }
    assert.deepEqual(own.proxy(0).resolutions, ['localhost', 'localhost']);
  });

  for (const [what, hostname, answer, error] of [
    ['does not exist', 'nowhere.example.org', undefined, /nowhere\.example\.org.*ENOTFOUND/],
    ['has no address', 'empty.example.org', async () => [], /empty\.example\.org has no address/],
  ] as const) {
    test(`OUT-30: a hostname that ${what} is an early deny`, async () => {
      if (answer !== undefined) answers.set(hostname, answer);
      const vip = vipOf(named(mesh, hostname, far.workload), 'v4');
      clear();
      assert.equal(await fate(client.pod, vip, 80), 'closed');
      assert.equal(mesh.records.denies.length, 1, 'one line of the access log');
      const [deny] = mesh.records.denies;
      assert.equal(deny?.reporter, 'source');
      assert.equal(deny?.destinationAddress, `${vip}:80`);
      assert.match(deny?.sourceAddress ?? '', new RegExp(`^${client.pod.addresses.v4}:\\d+$`));
      assert.match(deny?.error ?? '', error);
      assert.equal(mesh.records.connections.length, 0, 'no traffic metric');
      await until(() => mesh.records.sockets.source === 0);
    });
  }
});

describe('an endpoint that fails the tunnel', () => {
  let mesh: TestMesh;
  let client: Member;

  before(async () => {
    mesh = await startTestMesh({ nodes: 2, settings: { connectTimeoutMilliseconds: 300 } });
    client = await mesh.pod({ name: 'client' });
  });
  after(async () => {
    await mesh[Symbol.asyncDispose]();
  });

  const SECRET = 'bytes that nobody else may read';

  /** An independent HBONE server with the certificate `name`, and all bytes that reach its ports. */
  async function presenting(name: (workload: Workload) => string) {
    const { pod, workload } = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
    const identity = mesh.authority.make(name(workload));
    const server = mesh.own(await serveHbone(pod, { identity, port: 16008 }));
    const wire: Buffer[] = [];
    mesh.own(
      await listen(pod, 15008, (socket: Socket) => {
        const behind = connect(pod, pod.addresses.v4, 16008);
        socket.on('data', (chunk: Buffer) => {
          wire.push(chunk);
          void behind.then((server) => server.write(chunk));
        });
        socket.on('close', () => void behind.then((server) => server.destroy()));
        void behind.then((server) => server.pipe(socket));
      }),
    );
    const application = mesh.own(await listen(pod, 8080, doubleEcho));
    return { pod, server, application, wire };
  }

  test('OUT-32: a server with the expected identity is reached, over TLS only', async () => {
    const { pod, server, application, wire } = await presenting(uri);
    const socket = await connect(client.pod, pod.addresses.v4, 8080);
    socket.write(SECRET);
    assert.equal((await readExactly(socket, SECRET.length)).toString(), SECRET);
    socket.destroy();
    assert.equal(server.requests.length, 1);
    assert.ok(wire.length > 0 && !Buffer.concat(wire).includes(SECRET));
    assert.equal(application.seen.connections, 0);
  });

  for (const [what, name] of [
    ['service account', () => 'spiffe://cluster.local/ns/default/sa/impostor'],
    ['namespace', (workload) => uri({ ...workload, namespace: 'elsewhere' })],
    ['trust domain', (workload) => uri({ ...workload, trustDomain: 'example.org' })],
  ] as [string, (workload: Workload) => string][]) {
    test(`OUT-32: a server of another ${what} receives no byte of the application`, async () => {
      const { pod, server, application, wire } = await presenting(name);
      mesh.clear();
      const socket = await connect(client.pod, pod.addresses.v4, 8080);
      socket.write(SECRET);
      assert.notEqual(await ending(socket), 'open');
      const { start, end } = await mesh.records.closed('source');
      assert.equal(start.destinationAddress, `${pod.addresses.v4}:15008`);
      assert.equal(end.flag, 'TLS_FAILURE');
      assert.match(end.error ?? '', /identities/);
      assert.equal(end.bytesFromServer ?? 0, 0);
      assert.ok(wire.length > 0, 'TLS was tried');
      assert.ok(!Buffer.concat(wire).includes(SECRET), 'no plaintext');
      assert.equal(server.requests.length, 0);
      assert.equal(application.seen.connections, 0, 'no connection bypasses the tunnel');
    });
  }

  test('OUT-33: a connection attempt times out after ten seconds by default', () => {
    assert.equal(resolveSettings({}).connectTimeoutMilliseconds, 10_000);
  });

  for (const [family, command] of [
    ['v4', 'iptables'],
    ['v6', 'ip6tables'],
  ] as const) {
    test(`OUT-33: an unresponsive port 15008 is reported as NETWORK_POLICY (IP${family})`, async () => {
      const { pod } = await mesh.pod({ node: 1 });
      const application = mesh.own(await listen(pod, 8080, doubleEcho));
      await pod.run(command, ['-I', 'INPUT', '-p', 'tcp', '--dport', '15008', '--syn', '-j', 'DROP']);
      mesh.clear();
      const began = performance.now();
      assert.equal(await fate(client.pod, pod.addresses[family], 8080), 'closed');
      assert.ok(performance.now() - began >= 290, 'not before the time limit');
      const { end } = await mesh.records.closed('source');
      assert.equal(end.flag, 'NETWORK_POLICY');
      assert.match(end.error ?? '', /NetworkPolicy.*15008/);
      assert.equal(application.seen.connections, 0);
    });
  }

  describe('that answers CONNECT', () => {
    let pod: Pod;
    let server: HboneServer;
    const received: Buffer[] = [];

    before(async () => {
      const made = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
      pod = made.pod;
      server = mesh.own(
        await serveHbone(pod, {
          identity: mesh.authority.issue(made.workload),
          // The requested port is 7 followed by the status.
          onRequest: ({ stream, authority }) => {
            stream.on('data', (chunk: Buffer) => received.push(chunk));
            stream.respond({ ':status': Number(/:7(\d+)$/.exec(authority)?.[1]) }, { endStream: true });
          },
        }),
      );
    });

    for (const [status, error] of [
      [401, /401.*authorization policies/],
      [503, /503.*application/],
    ] as const) {
      test(`OUT-34: with ${status} closes the client, flag CONNECT`, async () => {
        mesh.clear();
        const before = server.requests.length;
        assert.equal(await fate(client.pod, pod.addresses.v4, 7000 + status), 'closed');
        const { start, end } = await mesh.records.closed('source');
        assert.equal(start.hboneAddress, `${pod.addresses.v4}:${7000 + status}`);
        assert.equal(end.flag, 'CONNECT');
        assert.match(end.error ?? '', error);
        assert.equal(mesh.records.denies.length, 0);
        assert.equal(server.requests.length, before + 1, 'it is not tried again');
        assert.equal(received.length, 0, 'bytes wait for the answer');
      });
    }
  });
});

test('a pod whose loopback has no IPv6 is served over IPv4, and its neighbours in both families', async () => {
  await using mesh = await startTestMesh({ nodes: 1 });
  const client = await mesh.pod();
  const other = await mesh.pod();
  const bare = await mesh.pod({ captured: false, workload: { protocol: 'HBONE' } });
  await installRedirect(bare.pod, { dns: false });
  await bare.pod.run('sysctl', ['-qw', 'net.ipv6.conf.lo.disable_ipv6=1']);
  mesh.serve(mesh.proxy(0), bare.pod);
  for (const { pod } of [other, bare]) mesh.own(await listen(pod, 8080, doubleEcho));
  // Its own IPv6 works with no proxy: the capture rules route the application's answers through loopback.
  for (const [from, to] of [
    [bare.pod, other.pod.addresses.v4],
    [client.pod, bare.pod.addresses.v4],
    [client.pod, other.pod.addresses.v4],
    [client.pod, other.pod.addresses.v6],
  ] as const) {
    assert.equal(await hello(from, to, 8080), 'hello worldhello world');
  }
  assert.ok(mesh.records.connections.every(({ start }) => start.securityPolicy === 'mutual_tls'));
});
