import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { endpointText, installRedirect, type LabMesh, type Pod, workloadOf } from '@kmesh/lab';
import { attempt, echo, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { type HandoffScene, handoffScene } from '@kmesh/lab/testing/traffic/handoff-scene.ts';
import { assertFields, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';

/** It is in no workload or service; the routes of the pod's node would forward to it. */
const FOREIGN = '10.1.200.9';

describe('a pod without capture rules: destinations of the mesh are reached by the hand-off, or refused', () => {
  let scene: HandoffScene;
  let mesh: LabMesh;
  let client: Pod;
  let far: Pod;

  before(async () => {
    scene = await handoffScene(false);
    ({ mesh, client, far } = scene);
    await client.addAddress(FOREIGN, 'lo');
  });
  after(() => scene?.[Symbol.asyncDispose]());

  test('the log says so once, with the consequence', () => {
    const said = mesh.proxyOf(client).log.match(/a pod has no capture rules: .* are refused unless/g) ?? [];
    assert.equal(said.length, 1);
    assert.doesNotMatch(mesh.proxyOf(far).log, /capture rules/);
  });

  test('connections to TCP port 53 of a pod of the mesh use HBONE, not the DNS proxy', async () => {
    const server = await far.serve({ port: 53, mode: 'double' });
    const watch = await mesh.proxyOf(client).watch();
    await echo(client, far.addresses.v4, 53);
    assertFields(await watch.line('outbound'), {
      'dst.hbone_addr': endpointText(far.addresses.v4, 53),
      'dst.identity': spiffe(far),
    });
    await server.close();
  });

  test("a socket with an application's mark uses HBONE", async () => {
    const server = await far.serve({ port: 8101 });
    const watch = await mesh.proxyOf(client).watch();
    const report = await client.dial({ to: `${far.addresses.v4}:8101`, mark: 0x7_0000 });
    assert.deepEqual(report.failures, []);
    assertFields(await watch.line('outbound'), {
      'dst.hbone_addr': endpointText(far.addresses.v4, 8101),
      'dst.identity': spiffe(far),
    });
    await server.close();
  });

  test("a socket that is bound to an address that is not its pod's is refused", async () => {
    const seen = await acceptedBy(far, 8102);
    const watch = await mesh.proxyOf(client).watch();
    const report = await client.dial({ to: `${far.addresses.v4}:8102`, sources: [FOREIGN] });
    assert.deepEqual(
      report.failures.map(({ step, reason }) => [step, reason]),
      [['connect', 'ECONNREFUSED']],
    );
    assert.deepEqual(await seen(), []);
    // The hook refuses it, and no other event reports it.
    const { fields, level } = await watch.line('outbound', { 'dst.addr': `${far.addresses.v4}:8102` });
    assert.equal(level, 'warn');
    assert.match(fields['error'] ?? '', /this pod has no capture rules/);
    const counted = { path: 'refused', reason: 'bare' };
    assert.equal(await watch.growth('kmesh_connections_path_total', counted), 1);
  });

  test('connections of an address family without a known address of the pod are refused', async () => {
    const { v4 } = client.addresses;
    const known = workloadOf(client, { protocol: 'HBONE' });
    const seen = await acceptedBy(far, 8103);
    await mesh.apply({ ...known, addresses: [v4] });
    try {
      await untilTablesFollow(mesh);
      const { how } = await attempt(client, far.addresses.v6, 8103);
      assert.equal(how, 'refused');
      assert.deepEqual(await seen(), []);
      await echo(client, far.addresses.v4);
    } finally {
      await mesh.apply(known);
      await untilTablesFollow(mesh);
    }
  });
});

test('without the hand-off, tunnel connections of a pod without capture rules are refused until it has rules', async () => {
  await using scene = await handoffScene(false, { KMESH_HANDOFF: 'false' });
  const { client, far } = scene;
  const seen = await acceptedBy(far, 8104);
  for (const address of Object.values(far.addresses)) {
    assert.deepEqual(await attempt(client, address, 8104), { how: 'refused', bytes: '' });
  }
  assert.deepEqual(await seen(), []);
  await installRedirect(client, { dns: false, variant: 'nftables' });
  await eventually(
    'the rules are seen',
    async () => (await attempt(client, far.addresses.v4, 8080, 'hello', 5_000, 1)).how !== 'refused',
    20_000,
  );
  const watch = await scene.mesh.proxyOf(client).watch();
  await echo(client, far.addresses.v4);
  assertFields(await watch.line('outbound'), { 'dst.hbone_addr': endpointText(far.addresses.v4, 8080) });
});

/**
 * @returns the clients whose connections to a port were accepted until the call, in order, that of the pod itself last
 */
async function acceptedBy(pod: Pod, port: number): Promise<() => Promise<readonly string[]>> {
  const seen: string[] = [];
  const server = await pod.listen({ port }, (socket) => {
    seen.push(socket.remoteAddress ?? '');
    socket.on('error', () => undefined).end();
  });
  return async () => {
    const before = seen.length;
    (await pod.connect({ host: '127.0.0.1', port })).on('error', () => undefined).end();
    await eventually('the last is accepted', () => seen.length > before);
    server.close();
    return seen.slice(0, -1);
  };
}
