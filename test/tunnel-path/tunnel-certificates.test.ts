import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Workload } from '@kmesh/api';
import { createAuthority, openHbone, type Pod, serveHbone, serveRudeWaypoint } from '@kmesh/lab';
import { gatewayed } from '@kmesh/lab/testing/tunnel/gateway.ts';
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
import type { TunnelSettings } from '@kmesh/tunnel';
import { nativeTunnel } from '@kmesh/tunnel';

interface Member {
  pod: Pod;
  workload: Workload;
}

let mesh: TestMesh;
let client: Member;
let server: Member;

before(async () => {
  mesh = await startTestMesh({ nodes: 2 });
  client = await mesh.pod({ name: 'client', node: 0 });
  server = await mesh.pod({ name: 'server', node: 1 });
  mesh.own(await listen(server.pod, 8080, doubleEcho));
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

/** A list of the mesh's authority that revokes the current certificate of `member`. */
function revoke(...members: Member[]): Uint8Array {
  const serials = members.map(({ workload }) => mesh.authority.issue(workload).serial);
  return mesh.authority.authority.revocationList(serials).der;
}

describe('certificates in the tunnel', () => {
  for (const [uri, served] of [
    ['spiffe://cluster.local/ns/default/sa/any', true],
    ['spiffe://cluster.local/ns/default/sa/', true],
    ['spiffe://cluster.local/ns//sa/', true],
    ['spiffe://cluster.local/x', false],
    ['spiffe://cluster.local/', false],
    ['spiffe://cluster.local', false],
    ['spiffe://cluster.local/ns/default/sa/any/x', false],
    ['spiffe://cluster.local/ns/default/sa/any/', false],
    ['spiffe://cluster.local/ns/default/sa', false],
    ['spiffe://cluster.local/NS/default/SA/any', false],
    ['SPIFFE://cluster.local/ns/default/sa/any', false],
    ['spiffe://Cluster.local/ns/default/sa/any', false],
    ['spiffe://other/ns/default/sa/any', false],
    ['https://cluster.local/ns/default/sa/any', false],
    ['', false],
  ] as const) {
    test(`HBN-15: a client whose only name is "${uri}" is ${served ? 'served' : 'refused in the handshake'}`, async () => {
      const outside = await mesh.pod({ captured: false });
      mesh.proxy(1).records.clear();
      const socket = await connect(outside.pod, server.pod.addresses.v4, 15008);
      const peer = openHbone(socket, { identity: mesh.authority.make(uri) });
      if (served) {
        using open = await peer;
        assert.equal((await open.request(`${server.pod.addresses.v4}:8080`)).status, 200);
        return;
      }
      await assert.rejects(peer.then((open) => mesh.own(open).ready()));
      const deny = await mesh.proxy(1).records.wait(() => mesh.proxy(1).records.denies[0]);
      assert.match(deny.error, /no identity of the own trust domain/);
    });
  }

  test('CRT-13: a renewal does not interrupt a transfer, and new connections use the new certificate', async () => {
    const fresh = await mesh.pod({ node: 0 });
    const open = await connect(fresh.pod, server.pod.addresses.v4, 8080);
    open.write('hello world');
    await readExactly(open, 22);
    const before = mesh.authority.issue(server.workload).serial;
    mesh.authority.rotate();
    for (let round = 0; round < 5; round++) {
      open.write('hello world');
      await readExactly(open, 22);
    }
    const outside = await mesh.pod({ captured: false });
    const socket = await connect(outside.pod, server.pod.addresses.v4, 15008);
    using peer = await openHbone(socket, { identity: mesh.authority.issue(outside.workload) });
    const serial = BigInt(`0x${peer.tls.getPeerCertificate().serialNumber}`);
    assert.notEqual(serial, before);
    assert.equal(serial, mesh.authority.issue(server.workload).serial);
    open.destroy();
  });

  test('CRT-14: a client whose leaf is revoked is refused in the handshake, and counted', async () => {
    const outside = await mesh.pod({ captured: false });
    mesh.revocations.set(revoke(outside));
    const before = mesh.proxy(1).counters.destination;
    mesh.proxy(1).records.clear();
    const socket = await connect(outside.pod, server.pod.addresses.v4, 15008);
    const opened = openHbone(socket, { identity: mesh.authority.issue(outside.workload) });
    await assert.rejects(opened.then((peer) => mesh.own(peer).ready()));
    const deny = await mesh.proxy(1).records.wait(() => mesh.proxy(1).records.denies[0]);
    assert.match(deny.error, /revoked/);
    assert.equal(mesh.proxy(1).counters.destination, before + 1);
    mesh.revocations.set();
  });

  test('CRT-15: a server whose leaf is revoked is refused, flag CERT_REVOKED, and counted', async () => {
    const fresh = await mesh.pod({ node: 0 });
    mesh.revocations.set(revoke(server));
    const before = mesh.proxy(0).counters.source;
    mesh.proxy(0).records.clear();
    assert.equal(await fate(fresh.pod, server.pod.addresses.v4, 8080), 'closed');
    const { end } = await mesh.proxy(0).records.closed('source');
    assert.equal(end.flag, 'CERT_REVOKED');
    assert.equal(mesh.proxy(0).counters.source, before + 1);
    mesh.revocations.set();
  });

  test('CRT-16: a list that revokes the peer closes live connections, both directions, flag CERT_REVOKED', async () => {
    mesh.authority.rotate();
    for (const [revoked, side, proxy] of [
      [client, 'destination', 1],
      [server, 'source', 0],
    ] as const) {
      const other = side === 'destination' ? client : await mesh.pod({ node: 0 });
      const open = await connect(other.pod, server.pod.addresses.v4, 8080);
      open.write('hello world');
      await readExactly(open, 22);
      const ended = ending(open, 5_000);
      mesh.revocations.set(revoke(revoked));
      assert.equal(await ended, 'reset');
      mesh.revocations.set();
      mesh.authority.rotate();
      assert.ok(mesh.proxy(proxy).counters[side] > 0, side);
    }
  });

  test('CRT-16: the record of a closed connection has CERT_REVOKED', async () => {
    const fresh = await mesh.pod({ node: 0 });
    for (const { records } of mesh.proxies) records.clear();
    const open = await connect(fresh.pod, server.pod.addresses.v4, 8080);
    open.write('hello world');
    await readExactly(open, 22);
    mesh.revocations.set(revoke(fresh));
    const { end } = await mesh.proxy(1).records.closed('destination');
    assert.equal(end.flag, 'CERT_REVOKED');
    assert.match(end.error ?? '', /revoked/);
    mesh.revocations.set();
    open.destroy();
  });

  test('CRT-16: a list that comes between a client’s connect and its handshake counts for it', async () => {
    const outside = await mesh.pod({ captured: false });
    const { counters, records, tunnel } = mesh.proxy(1);
    const [before, sessions] = [counters.destination, tunnel.sessionCount];
    records.clear();
    const socket = await connect(outside.pod, server.pod.addresses.v4, 15008);
    await until(() => tunnel.sessionCount > sessions);
    mesh.revocations.set(revoke(outside));
    const opened = openHbone(socket, { identity: mesh.authority.issue(outside.workload) });
    const asked = opened.then((peer) => mesh.own(peer).request(`${server.pod.addresses.v4}:8080`));
    await assert.rejects(asked);
    const deny = await records.wait(() => records.denies[0]);
    assert.match(deny.error, /revoked/);
    assert.equal(counters.destination, before + 1);
    assert.equal(records.connections.length, 0);
    mesh.revocations.set();
  });

  test('CRT-16: a list that comes between the connect to a server and its handshake counts for it', async () => {
    const slow = await mesh.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
    const { counters, records } = mesh.proxy(0);
    const before = counters.source;
    records.clear();
    const waypoint = await serveRudeWaypoint(slow.pod, {
      identity: mesh.authority.issue(slow.workload),
      onStream: (stream) => stream.respond(),
      beforeTls: async () => mesh.revocations.set(revoke(slow)),
    });
    mesh.own(waypoint);
    assert.equal(await fate(client.pod, slow.pod.addresses.v4, 8080), 'closed');
    const { end } = await records.closed('source');
    assert.equal(end.flag, 'CERT_REVOKED');
    assert.equal(counters.source, before + 1);
    mesh.revocations.set();
  });

  test('CRT-16: double HBONE: a list that comes before the final server’s handshake counts for it', async () => {
    const { counters, records } = mesh.proxy(0);
    const { service, final, hooks } = await gatewayed(mesh, 'late', 'ip');
    hooks.passing = () => mesh.revocations.set(revoke(final));
    const before = counters.source;
    records.clear();
    assert.equal(await fate(client.pod, service.vips[0]?.ip ?? '', 8080), 'closed');
    const { end } = await records.closed('source');
    assert.equal(end.flag, 'CERT_REVOKED');
    assert.equal(counters.source, before + 1);
    mesh.revocations.set();
  });

  test('CRT-16: double HBONE: a list that revokes the final server closes the connections to it', async () => {
    const { counters, records } = mesh.proxy(0);
    const { service, gateway, final } = await gatewayed(mesh, 'inner', 'ip');
    const vip = service.vips[0]?.ip ?? '';
    const other = await gatewayed(mesh, 'spared', 'ip');
    records.clear();
    const spared = await connect(client.pod, other.service.vips[0]?.ip ?? '', 8080);
    const open = await connect(client.pod, vip, 8080);
    for (const socket of [spared, open]) {
      socket.write('hello world');
      await readExactly(socket, 22);
    }
    const before = counters.source;
    const ended = ending(open, 5_000);
    mesh.revocations.set(revoke(final));
    assert.equal(await ended, 'reset');
    const { end } = await records.closed('source');
    assert.equal(end.flag, 'CERT_REVOKED');
    assert.match(
      end.error ?? '',
      new RegExp(`${service.hostname}:8080 behind ${gateway.pod.addresses.v4}.* was revoked`),
    );
    assert.equal(counters.source, before + 1);
    spared.write('hello world');
    await readExactly(spared, 22);
    spared.destroy();

    records.clear();
    assert.equal(await fate(client.pod, vip, 8080), 'closed');
    const refused = await records.closed('source');
    assert.equal(refused.end.flag, 'CERT_REVOKED');
    assert.equal(counters.source, before + 2);
    mesh.revocations.set();
  });

  test('CRT-17: a revoked intermediate revokes its certificates, and none of another with the same name', () => {
    const root = createAuthority();
    const twins = [root.intermediate({ commonName: 'twin' }), root.intermediate({ commonName: 'twin' })];
    const leaves = twins.map((twin) => [
      twin.issue({ uris: ['spiffe://td/ns/a/sa/b'] }).certificateDer,
      twin.certificateDer,
      root.certificateDer,
    ]);
    const list = root.revocationList([twins[0]?.serial ?? 0n]);
    assert.deepEqual(
      leaves.map((chain) => nativeTunnel().tunnelChainRevoked(chain, [list.der])),
      [true, false],
    );
    assert.deepEqual(
      leaves.map((chain) => nativeTunnel().tunnelChainRevoked(chain, [Buffer.from(list.pem)])),
      [true, false],
    );
  });

  test('CRT-18: an expired list is still used; with an invalid or empty list peers are accepted', () => {
    const root = createAuthority();
    const leaf = root.issue({ uris: ['spiffe://td/ns/a/sa/b'] });
    const chain = [leaf.certificateDer, root.certificateDer];
    const old = new Date(Date.now() - 86_400_000);
    const expired = root.revocationList([leaf.serial], {
      thisUpdate: new Date(old.getTime() - 86_400_000),
      nextUpdate: old,
    });
    const revoked = (...lists: Uint8Array[]) => nativeTunnel().tunnelChainRevoked(chain, lists);
    assert.equal(revoked(expired.der), true);
    assert.equal(revoked(Buffer.from('garbage')), false);
    assert.equal(revoked(new Uint8Array(0)), false);
    assert.equal(revoked(root.revocationList([]).der), false);
  });

  test('CRT-19: post-quantum only on one side fails, on both sides works with X25519MLKEM768', async () => {
    await using quantum = await startTestMesh({ nodes: 2, settings: { postQuantumOnly: true } });
    const from = await quantum.pod({ node: 0 });
    const to = await quantum.pod({ node: 1 });
    quantum.own(await listen(to.pod, 8080, doubleEcho));
    assert.equal(await hello(from.pod, to.pod.addresses.v4, 8080), 'hello worldhello world');
    const classic = await quantum.pod({ node: 1, captured: false, workload: { protocol: 'HBONE' } });
    quantum.own(
      await serveHbone(classic.pod, {
        identity: quantum.authority.issue(classic.workload),
        groups: 'X25519',
      }),
    );
    quantum.records.clear();
    assert.equal(await fate(from.pod, classic.pod.addresses.v4, 8080), 'closed');
    const { end } = await quantum.records.closed('source');
    assert.equal(end.flag, 'TLS_FAILURE');
    const socket = await connect(classic.pod, to.pod.addresses.v4, 15008);
    const identity = quantum.authority.issue(classic.workload);
    await assert.rejects(openHbone(socket, { identity, groups: 'X25519' }));
    const again = await connect(classic.pod, to.pod.addresses.v4, 15008);
    using peer = await openHbone(again, { identity, groups: 'X25519MLKEM768' });
    assert.equal((await peer.request(`${to.pod.addresses.v4}:8080`)).status, 200);
  });

  test('CRT-20: a TLS 1.2 client is refused, and accepted with TLS12_ENABLED', async () => {
    const attempt = async (settings: TunnelSettings): Promise<number> => {
      await using old = await startTestMesh({ nodes: 1, settings });
      const from = await old.pod({ captured: false });
      const to = await old.pod();
      old.own(await listen(to.pod, 8080, doubleEcho));
      const socket = await connect(from.pod, to.pod.addresses.v4, 15008);
      using peer = await openHbone(socket, {
        identity: old.authority.issue(from.workload),
        minVersion: 'TLSv1.2',
        maxVersion: 'TLSv1.2',
      });
      return (await peer.request(`${to.pod.addresses.v4}:8080`)).status;
    };
    await assert.rejects(attempt({}));
    assert.equal(await attempt({ tls12: true }), 200);
  });
});
