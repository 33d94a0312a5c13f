import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  createLab,
  endpointText,
  installProbeSource,
  type Lab,
  type LabMesh,
  type MeshPod,
  type Pod,
  startMesh,
} from '@kmesh/lab';
import { attempt, echo, exchange, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { assertFields, closeWithPaths, untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { strict, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

let lab: Lab;
let mesh: LabMesh;

before(async () => {
  lab = await createLab();
  await lab.node();
  await lab.node();
  mesh = await startMesh(lab);
});
after(() => closeWithPaths(mesh, lab));

/** What every captured side counts for one exchange of 11 bytes with a doubling server. */
const counted = { opened: 1, closed: 1, received: 11, sent: 22, failed: 0 };
const outboundBytes = { bytes_sent: '11', bytes_recv: '22' };
const inboundBytes = { bytes_sent: '22', bytes_recv: '11' };

for (const variant of ['iptables', 'nftables'] as const) {
  describe(`pods captured by ${variant}`, () => {
    let client: Pod;
    let near: MeshPod;
    let far: MeshPod;
    let plain: Pod;
    let path: string;

    before(async () => {
      path = mesh.kernelPath ? 'kernel' : 'tunnel';
      const captured = { variant };
      ({ pod: client } = await mesh.pod({ name: `client-${variant}`, captured }));
      near = await mesh.pod({ name: `near-${variant}`, captured });
      far = await mesh.pod({ name: `far-${variant}`, captured }, 1);
      ({ pod: plain } = await mesh.pod({ name: `plain-${variant}`, captured: false }, 1));
      for (const pod of [near.pod, far.pod, plain]) await pod.serve({ port: 8080, mode: 'double' });
      await untilEnrolled(mesh, [client, near.pod, far.pod]);
    });

    for (const family of ['v4', 'v6'] as const) {
      for (const [id, place] of [
        ['NSP-01', 'the same node'],
        ['NSP-02', 'another node'],
      ] as const) {
        test(`${id}: captured to captured on ${place} is HBONE with both identities in both logs, or stays in the kernel (IP${family})`, async () => {
          const server = id === 'NSP-01' ? near.pod : far.pod;
          const from = await mesh.proxyOf(client).watch();
          const to = await mesh.proxyOf(server).watch();
          const address = server.addresses[family];
          await echo(client, address);
          const inKernel = mesh.kernelPath && id === 'NSP-01';
          const identities = {
            'src.identity': spiffe(client),
            'dst.identity': spiffe(server),
            path: inKernel ? 'kernel' : 'tunnel',
          };
          const peers = {
            'src.workload': client.name,
            'dst.workload': server.name,
            'dst.addr': endpointText(address, inKernel ? 8080 : 15008),
            'dst.hbone_addr': inKernel ? undefined : endpointText(address, 8080),
          };
          const outbound = await from.line('outbound');
          assert.deepEqual([outbound.level, outbound.message], ['info', 'connection complete']);
          assertFields(outbound, { ...identities, ...peers, ...outboundBytes, error: undefined });
          const inbound = await to.line('inbound');
          assertFields(inbound, { ...identities, ...peers, ...inboundBytes, error: undefined });
          const security = inKernel ? 'unknown' : 'mutual_tls';
          const secure = { connection_security_policy: security, response_flags: '-' };
          assert.deepEqual(await from.traffic('source', 1, secure), counted);
          assert.deepEqual(await to.traffic('destination', 1, secure), counted);
        });
      }

      test(`NSP-03: captured to uncaptured is plain TCP without identities (IP${family})`, async () => {
        const from = await mesh.proxyOf(client).watch();
        const address = plain.addresses[family];
        await echo(client, address);
        assertFields(await from.line('outbound'), {
          'src.identity': undefined,
          'dst.identity': undefined,
          'dst.addr': endpointText(address, 8080),
          'dst.hbone_addr': undefined,
          path,
          ...outboundBytes,
        });
        const open = { connection_security_policy: 'unknown', response_flags: '-' };
        assert.deepEqual(await from.traffic('source', 1, open), counted);
      });

      test(`NSP-04: uncaptured to captured is plaintext with the real source IP (IP${family})`, async () => {
        const to = await mesh.proxyOf(near.pod).watch();
        const address = near.pod.addresses[family];
        await echo(plain, address);
        assertFields(await to.line('inbound'), {
          'src.addr': new RegExp(`^\\[?${plain.addresses[family]}\\]?:`),
          'src.identity': undefined,
          'dst.identity': undefined,
          'dst.addr': endpointText(address, 8080),
          path,
          ...inboundBytes,
        });
        const open = { connection_security_policy: 'unknown', response_flags: '-' };
        assert.deepEqual(await to.traffic('destination', 1, open), counted);
      });
    }
  });
}

describe('dedicated mode', () => {
  let client: Awaited<ReturnType<LabMesh['dedicatedPod']>>;
  let server: Awaited<ReturnType<LabMesh['dedicatedPod']>>;
  let plain: Pod;

  before(async () => {
    [client, server] = await Promise.all([
      mesh.dedicatedPod({ name: 'dedicated-client' }),
      mesh.dedicatedPod({ name: 'dedicated-server' }, 1),
    ]);
    ({ pod: plain } = await mesh.pod({ name: 'dedicated-plain', captured: false }));
    for (const pod of [server.pod, plain]) await pod.serve({ port: 8080, mode: 'double' });
  });

  for (const family of ['v4', 'v6'] as const) {
    test(`NSP-05: captured to captured, to uncaptured and from uncaptured count and log the same (IP${family})`, async () => {
      const address = server.pod.addresses[family];
      const from = await client.proxy.watch();
      const to = await server.proxy.watch();
      await echo(client.pod, address);
      const both = { 'src.identity': spiffe(client.pod), 'dst.identity': spiffe(server.pod) };
      assertFields(await from.line('outbound'), { ...both, ...outboundBytes });
      assertFields(await to.line('inbound'), { ...both, ...inboundBytes });
      const secure = { connection_security_policy: 'mutual_tls' };
      assert.deepEqual(await from.traffic('source', 1, secure), counted);
      assert.deepEqual(await to.traffic('destination', 1, secure), counted);

      const open = { connection_security_policy: 'unknown' };
      await echo(client.pod, plain.addresses[family]);
      assert.deepEqual(await from.traffic('source', 1, open), counted);
      assertFields((await from.access('outbound', 2))[1], { 'dst.identity': undefined, ...outboundBytes });

      await echo(plain, address);
      assert.deepEqual(await to.traffic('destination', 1, open), counted);
      assertFields((await to.access('inbound', 2))[1], {
        'src.addr': new RegExp(`^\\[?${plain.addresses[family]}\\]?:`),
        'src.identity': undefined,
        ...inboundBytes,
      });
    });
  }
});

describe('single pods', () => {
  let client: Pod;

  before(async () => {
    ({ pod: client } = await mesh.pod({ name: 'caller' }));
  });

  for (const variant of ['iptables', 'nftables'] as const) {
    test(`NSP-14: a pod that calls its own IP is not captured (${variant})`, async () => {
      const { pod } = await mesh.pod({ name: `alone-${variant}`, captured: { variant } });
      await pod.serve({ port: 8080, mode: 'double' });
      const watch = await mesh.proxyOf(pod).watch();
      for (const address of Object.values(pod.addresses)) await echo(pod, address);
      await echo(client, pod.addresses.v4);
      await watch.access('inbound');
      await watch.access('outbound');
      assert.equal(watch.lines.length, 2, 'the lines of the other pod only');
    });

    test(`NSP-15, NEG-07: a probe of the kubelet reaches a pod under STRICT, past the proxy (${variant})`, async () => {
      const { node } = mesh.node(0);
      const { pod } = await mesh.pod({ name: `probed-${variant}`, captured: { variant } });
      await pod.serve({ port: 8080, mode: 'double' });
      await pod.serve({ port: 8081, mode: 'http' });
      await installProbeSource(node, [pod]);
      await mesh.apply(strict);
      const watch = await mesh.proxyOf(pod).watch();
      for (const address of Object.values(pod.addresses)) {
        await echo(node, address);
        assert.equal((await node.http({ host: address, port: 8081 })).status, 200);
      }
      await echo(client, pod.addresses.v4);
      await watch.access('inbound');
      assert.equal(watch.lines.length, 2, 'the lines of the mesh client only');
      await mesh.apply(without(strict));
    });
  }

  test('NSP-10: after a pod left the mesh while its application runs, neither new nor open connections transfer data', async () => {
    const { pod } = await mesh.pod({ name: 'leaving' }, 1);
    await pod.serve({ port: 8080, mode: 'double' });
    const established = await open(client, pod.addresses.v4, 8080);
    await exchange(established);
    const watch = await mesh.proxyOf(client).watch();
    const gone = await mesh.proxyOf(pod).watch();
    assert.deepEqual(await mesh.node(1).agent.sendDelete(pod), ['']);
    established.on('data', () => assert.fail('a byte came'));
    established.write('hello world');
    assert.notEqual(await ending(established), 'open');
    for (const address of Object.values(pod.addresses)) {
      assert.deepEqual(await attempt(client, address, 8080), { how: 'cut', bytes: '' });
    }
    const [cut, ...refused] = await watch.access('outbound', 3);
    assert.equal(cut?.fields['bytes_recv'], '22', 'the established one carried its first round trip only');
    for (const { level } of refused) assert.equal(level, 'error');
    await gone.line('inbound');
  });

  test('NSP-11: a client of another trust domain is closed, and nothing is delivered', async () => {
    const { pod } = await mesh.pod({ name: 'guarded' }, 1);
    await pod.serve({ port: 8080, mode: 'double' });
    const { pod: stranger } = await mesh.pod({
      name: 'stranger',
      workload: { trustDomain: 'elsewhere.example' },
    });
    const from = await mesh.proxyOf(stranger).watch();
    const to = await mesh.proxyOf(pod).watch();
    for (const address of Object.values(pod.addresses)) {
      assert.deepEqual(await attempt(stranger, address, 8080), { how: 'cut', bytes: '' });
    }
    const [line] = await from.access('outbound', 2);
    assert.equal(line?.level, 'error');
    const [refused] = await to.access('inbound', 2);
    assert.deepEqual([refused?.level, refused?.message], ['warn', 'connection failed']);
    assert.match(refused?.fields['error'] ?? '', /trust domain/);
    assert.equal((await pod.counts())[0]?.connections, 0);
    assert.equal(await to.growth('istio_tcp_connections_opened_total', { reporter: 'destination' }), 0);
  });
});
