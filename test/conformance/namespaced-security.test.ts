import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  connectFrom,
  createAuthority,
  createLab,
  endpointText,
  type Host,
  type Lab,
  type LabMesh,
  openHbone,
  type PeerIdentity,
  type Pod,
  startMesh,
  workloadOf,
} from '@kmesh/lab';
import { attempt, echo, exchange, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { tagPackets } from '@kmesh/lab/testing/traffic/packet-tags.ts';
import { assertFields, closeWithPaths, untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

const families = ['v4', 'v6'] as const;

let lab: Lab;
let mesh: LabMesh;
let client: Pod;
let plain: Pod;
let server: Pod;
let neighbour: Pod;

before(async () => {
  lab = await createLab();
  await lab.node();
  await lab.node();
  // For NEG-14: its connections need more than half of the free descriptors.
  mesh = await startMesh(lab, { environment: { KMESH_POD_DESCRIPTORS: '20000' } });
  ({ pod: client } = await mesh.pod({ name: 'client' }));
  ({ pod: plain } = await mesh.pod({ name: 'plain', captured: false }));
  ({ pod: server } = await mesh.pod({ name: 'server' }, 1));
  ({ pod: neighbour } = await mesh.pod({ name: 'neighbour', captured: { variant: 'nftables' } }, 1));
  for (const pod of [server, neighbour]) await pod.serve({ port: 8080, mode: 'double' });
});
after(() => closeWithPaths(mesh, lab));

/** Connections that the applications have seen so far. */
async function delivered(): Promise<number> {
  const counts = [...(await server.counts()), ...(await neighbour.counts())];
  return counts.reduce((sum, { connections }) => sum + connections, 0);
}

async function refused(from: Host, to: Pod, port = 8080): Promise<void> {
  for (const family of families) {
    const began = performance.now();
    assert.deepEqual(await attempt(from, to.addresses[family], port), { how: 'cut', bytes: '' });
    assert.ok(performance.now() - began < 2_000, 'promptly');
  }
}

describe('mutual TLS STRICT as istiod sends it', () => {
  before(() => mesh.apply(strict));
  after(() => mesh.apply(without(strict)));

  test('NEG-01: a caller of the mesh is served', async () => {
    const watch = await mesh.proxyOf(server).watch();
    for (const to of [server, neighbour])
      for (const family of families) await echo(client, to.addresses[family]);
    for (const line of await watch.access('inbound', 4)) {
      assertFields(line, { 'src.identity': spiffe(client), error: undefined });
    }
  });

  test('NEG-02, NEG-08, NEG-09: a plaintext caller is refused at once, flagged and logged; nothing is delivered', async () => {
    const before = await delivered();
    const watch = await mesh.proxyOf(server).watch();
    for (const to of [server, neighbour]) await refused(plain, to);
    for (const line of await watch.access('inbound', 4)) {
      assert.deepEqual([line.level, line.message], ['error', 'connection complete']);
      assertFields(line, { 'src.identity': undefined, error: /strict/, bytes_recv: '0', bytes_sent: '0' });
    }
    const counts = await watch.traffic('destination', 4, { response_flags: 'DENY' });
    assert.deepEqual([counts.failed, counts.received, counts.sent], [4, 0, 0]);
    assert.equal(await delivered(), before);
  });

  const stranger = createAuthority({ commonName: 'stranger' });
  for (const { what, identity, error } of [
    {
      what: 'of another trust domain',
      identity: () => mesh.identity('spiffe://elsewhere.example/ns/default/sa/sa-client'),
      error: /trust domain/,
    },
    {
      what: 'that has expired',
      identity: () => mesh.identity(client, { notAfter: new Date(Date.now() - 10_000) }),
      error: /expired/,
    },
    {
      what: 'that is not valid yet',
      identity: () => mesh.identity(client, { notBefore: new Date(Date.now() + 3_600_000) }),
      error: /not yet valid/,
    },
    {
      what: 'signed by another root',
      identity: (): PeerIdentity => {
        const issued = stranger.issue({ uris: [spiffe(client)] });
        return {
          certificateChainPem: issued.chainPem,
          privateKeyPem: issued.privateKeyPem,
          rootsPem: [mesh.istiod.authority.rootPem],
        };
      },
      error: /issuer|self-signed|verify/,
    },
    {
      what: 'for servers only',
      identity: () => mesh.identity(client, { usages: ['server'] }),
      error: /purpose/,
    },
    {
      what: 'without a SPIFFE id',
      identity: () => mesh.identity('https://example.com/'),
      error: /trust domain/,
    },
    { what: 'that is missing', identity: () => undefined, error: /certificate/ },
  ]) {
    test(`INB-19, IST-13: a client certificate ${what} is refused and logged; nothing is delivered or counted`, async () => {
      const before = await delivered();
      const watch = await mesh.proxyOf(server).watch();
      const peer = identity();
      for (const family of families) {
        const host = server.addresses[family];
        const socket = await connectFrom(plain, { host, port: 15008 });
        const served = async (): Promise<number> => {
          const rootsPem = [mesh.istiod.authority.rootPem];
          using hbone = await openHbone(socket, peer === undefined ? { rootsPem } : { identity: peer });
          return (await hbone.request(endpointText(host, 8080))).status;
        };
        await assert.rejects(served(), `${family} was answered`);
      }
      for (const line of await watch.access('inbound', 2)) {
        assert.deepEqual([line.level, line.message], ['warn', 'connection failed']);
        assertFields(line, { error, 'dst.addr': /:15008$/ });
      }
      const opened = await watch.growth('istio_tcp_connections_opened_total', { reporter: 'destination' });
      assert.deepEqual([opened, await delivered()], [0, before]);
    });
  }

  for (const { what, authority, status } of [
    {
      what: "another pod's address",
      authority: () => endpointText(neighbour.addresses.v4, 8080),
      status: 400,
    },
    {
      what: "another pod's IPv6 address",
      authority: () => endpointText(neighbour.addresses.v6, 8080),
      status: 400,
    },
    {
      what: "the client's own address",
      authority: () => endpointText(plain.addresses.v4, 8080),
      status: 400,
    },
    { what: 'loopback', authority: () => '127.0.0.1:8080', status: 400 },
    { what: 'the node', authority: () => endpointText(mesh.node(1).node.addresses.v4, 15000), status: 400 },
    { what: 'an unknown host name', authority: () => 'nobody.example.com:80', status: 503 },
    { what: "the proxy's own port", authority: () => endpointText(server.addresses.v4, 15008), status: 503 },
  ]) {
    test(`INB-11: a forged authority, ${what}, is answered ${status} and logged; nothing is delivered`, async () => {
      const before = await delivered();
      const watch = await mesh.proxyOf(server).watch();
      const socket = await connectFrom(plain, { host: server.addresses.v4, port: 15008 });
      using hbone = await openHbone(socket, { identity: mesh.identity(client) });
      assert.equal((await hbone.request(authority())).status, status);
      const line = await watch.line('inbound');
      assert.deepEqual([line.level, line.message], ['warn', 'connection failed']);
      assertFields(line, {
        'src.addr': new RegExp(`^${plain.addresses.v4}:`),
        'dst.addr': endpointText(server.addresses.v4, 15008),
        error: /./,
      });
      assert.equal(await delivered(), before);
    });
  }
});

describe('policies from the control plane', () => {
  test('NEG-03, NEG-11, INB-16: ALLOW by principal serves its caller only; without a policy all are served again', async () => {
    const { pod: other } = await mesh.pod({ name: 'other', captured: { variant: 'nftables' } });
    const principal = spiffe(client).replace('spiffe://', '');
    const allow = policy('Allow', { principals: [{ kind: 'Exact', value: principal }] });
    await mesh.apply(allow);
    const watch = await mesh.proxyOf(server).watch();
    for (const family of families) await echo(client, server.addresses[family]);
    await refused(other, server);
    await refused(plain, server);
    const counts = await watch.traffic('destination', 4, { response_flags: 'DENY' });
    assert.equal(counts.failed, 4);
    await mesh.apply(without(allow));
    for (const caller of [client, other, plain]) await echo(caller, server.addresses.v4);
  });

  test('POL-07, POL-08, NEG-10: open connections end within 1 s of a DENY that comes, or is selected by a label', async () => {
    const deny = policy('Deny', { destinationPorts: [8080] });
    const selected = policy(
      'Deny',
      { destinationPorts: [8080] },
      { name: 'selected', scope: 'WorkloadSelector' },
    );
    const { pod, workload } = await mesh.pod({ name: 'labelled' }, 1);
    await pod.serve({ port: 8080, mode: 'double' });
    await mesh.apply(selected);
    for (const change of [deny, { ...workload, authorizationPolicies: ['default/selected'] }]) {
      const sockets = [await open(client, pod.addresses.v4, 8080), await open(plain, pod.addresses.v6, 8080)];
      for (const socket of sockets) await exchange(socket);
      const watch = await mesh.proxyOf(pod).watch();
      const began = performance.now();
      await mesh.apply(change);
      assert.deepEqual(await Promise.all(sockets.map((socket) => ending(socket))), ['reset', 'reset']);
      assert.ok(performance.now() - began < 1_000);
      for (const line of await watch.access('inbound', 2)) assertFields(line, { error: /policy change/ });
      assert.equal((await watch.traffic('destination', 2, { response_flags: 'DENY' })).failed, 2);
      await mesh.apply(without(deny), workload);
    }
    await mesh.apply(without(selected));
  });
});

describe('packets with options, fragments and tags', () => {
  /** Counts packets that match an nft rule: proves that packets of a kind arrive as that kind. */
  async function counter(pod: Pod, rule: string): Promise<() => Promise<number>> {
    const table = `add table inet kinds
add chain inet kinds seen { type filter hook prerouting priority -450; }
add rule inet kinds seen ${rule} counter
`;
    await pod.run('nft', ['-f', '-'], { input: table });
    return async () => {
      const { stdout } = await pod.run('nft', ['list', 'table', 'inet', 'kinds']);
      await pod.run('nft', ['delete', 'table', 'inet', 'kinds']);
      return Number(/packets (\d+)/.exec(stdout)?.[1]);
    };
  }

  for (const variant of ['iptables', 'nftables'] as const) {
    for (const { kind, family, rule, bytes, extraHeaders } of [
      { kind: 'IPv4 with options', family: 'v4', rule: 'ip hdrlength 6', bytes: 11, extraHeaders: true },
      {
        kind: 'IPv4 in fragments',
        family: 'v4',
        rule: 'ip frag-off & 0x3fff != 0',
        bytes: 20_000,
        extraHeaders: false,
      },
      {
        kind: 'IPv6 with an extension header',
        family: 'v6',
        rule: 'exthdr dst exists',
        bytes: 11,
        extraHeaders: true,
      },
    ] as const) {
      test(`NEG-16: ${kind} is judged like any other packet (${variant})`, async () => {
        const name = `packets-${kind.replaceAll(/[^a-z0-9]/gi, '').toLowerCase()}-${variant}`;
        const { pod } = await mesh.pod({ name, captured: { variant } }, 1);
        await pod.serve({ port: 8080, mode: 'halfclose' });
        await untilEnrolled(mesh, [pod]);
        // A smaller MTU in the pod's node than at the sender causes fragments.
        const { node } = mesh.node(1);
        await plain.run('sysctl', ['-qw', 'net.ipv4.ip_no_pmtu_disc=1']);
        await node.run('ip', ['link', 'set', 'pods', 'mtu', kind.includes('fragments') ? '1300' : '1500']);
        const seen = await counter(pod, rule);
        const dial = {
          to: endpointText(pod.addresses[family], 8080),
          mode: 'halfclose',
          bytes,
          extraHeaders,
        } as const;
        assert.deepEqual((await plain.dial(dial)).byEndpoint, { [name]: 1 }, 'served');
        const allow = policy('Allow', {
          sourceIps: [`${plain.addresses[family]}/${family === 'v4' ? 32 : 128}`],
        });
        await mesh.apply(allow);
        assert.deepEqual((await plain.dial(dial)).byEndpoint, { [name]: 1 }, 'allowed by its source IP');
        await mesh.apply(without(allow), strict);
        assert.equal((await plain.dial(dial)).failed, 1, 'refused under STRICT');
        await mesh.apply(without(strict));
        assert.ok((await seen()) > 0, 'packets of the kind arrived');
        assert.equal((await pod.counts())[0]?.connections, 2);
        await node.run('ip', ['link', 'set', 'pods', 'mtu', '1500']);
      });
    }

    test(`NEG-16: packets with a VLAN tag are judged like any other (${variant})`, async () => {
      const name = `tagged-${variant}`;
      const { pod } = await mesh.pod({ name, captured: { variant } });
      await pod.serve({ port: 8080, mode: 'halfclose' });
      using tags = await tagPackets(plain, pod);
      for (const family of families) {
        const dial = { to: endpointText(pod.addresses[family], 8080), mode: 'halfclose' } as const;
        assert.deepEqual((await plain.dial(dial)).byEndpoint, { [name]: 1 }, 'served');
        await mesh.apply(strict);
        assert.equal((await plain.dial(dial)).failed, 1, 'refused under STRICT');
        await mesh.apply(without(strict));
      }
      assert.ok(tags.seen() > 0, 'tagged packets arrived');
      assert.equal((await pod.counts())[0]?.connections, 2);
    });
  }
});

test('NEG-14: all of 18,000 connections to a pod with policies, 15,000 of them open at once, are authorised', async (context) => {
  const { pod } = await mesh.pod({ name: 'crowded' }, 1);
  await pod.serve({ port: 8080, mode: 'silent' });
  const plainPod = async (name: string): Promise<Pod> => (await mesh.pod({ name, captured: false })).pod;
  const captured = await Promise.all(
    [1, 2, 3, 4].map(async (at) => (await mesh.pod({ name: `crowd${at}` })).pod),
  );
  const [open, unwanted] = [await plainPod('crowd-plain'), await plainPod('crowd-unwanted')];
  const sourceIps = [`${unwanted.addresses.v4}/32`, `${unwanted.addresses.v6}/128`];
  const early = policy('Deny', { sourceIps }, { name: 'early' });
  const late = policy('Deny', { destinationPorts: [8080] }, { name: 'late' });
  // Also if this test fails: the next one needs the pods to be served.
  context.after(() => mesh.apply(without(early), without(late)));
  await mesh.apply(early);
  const watch = await mesh.proxyOf(pod).watch();
  const to = families.map((family) => endpointText(pod.addresses[family], 8080));
  const dial = (from: Pod, connections: number, concurrency = connections) =>
    from.dial({ to, mode: 'http', connections, concurrency, timeoutMs: 60_000 });
  // An HBONE connection uses one descriptor of each proxy, a plaintext connection two of the server's.
  const held = [...captured.map((from) => dial(from, 3_500)), dial(open, 1_000)];
  const denied = await dial(unwanted, 3_000, 500);
  assert.deepEqual([denied.failed, denied.byEndpoint], [3_000, {}]);
  const connections = async (): Promise<number> => (await pod.counts())[0]?.connections ?? 0;
  await mesh.proxyOf(pod).until('15,000 are open', async () => (await connections()) >= 15_000, 30_000);
  await mesh.apply(late);
  for (const { failed, failures } of await Promise.all(held)) {
    assert.ok(failed > 0);
    assert.deepEqual(
      [...new Set(failures.map(({ reason }) => reason))],
      ['ECONNRESET'],
      'cut, none timed out',
    );
  }
  const counts = await watch.traffic('destination', 18_000, { response_flags: 'DENY' });
  assert.deepEqual([counts.closed, counts.failed, counts.sent], [18_000, 18_000, 0]);
  assert.equal(await connections(), 15_000, 'no byte of the denied client was delivered');
});

test('NEG-32: with an unresponsive control plane enrolment is answered at once and pods outside the mesh are not affected', async () => {
  const { node, agent } = mesh.node(0);
  mesh.istiod.faults.stall(true);
  const late = await node.pod({ name: 'late', serviceAccount: 'sa-late' });
  const outside = await node.pod({ name: 'never-enrolled' });
  for (const pod of [late, outside]) await pod.serve({ port: 8080, mode: 'double' });
  const began = performance.now();
  assert.equal(await agent.addPod(late), '');
  assert.ok(performance.now() - began < 1_000, `${performance.now() - began} ms`);
  for (const family of families) {
    await echo(plain, outside.addresses[family]);
    await echo(client, outside.addresses[family]);
    await echo(client, server.addresses[family]);
  }
  const waiting = echo(plain, late.addresses.v4);
  mesh.istiod.faults.stall(false);
  await mesh.apply(workloadOf(late, { protocol: 'HBONE' }));
  await waiting;
});
