import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import {
  createLab,
  type Host,
  installProbeSource,
  installRedirect,
  type Lab,
  type LabMesh,
  type MeshPod,
  type Pod,
  removeRedirect,
  startMesh,
} from '@kmesh/lab';
import { attempt, echo, exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { connectSocket, openNetworkNamespace } from '@kmesh/linux';

const KMESH_MARK = 0x4b4d;

for (const variant of ['iptables', 'nftables'] as const) {
  describe(`the kernel path in pods captured by ${variant}`, () => {
    let lab: Lab;
    let mesh: LabMesh;
    let outside: Host;
    let server: MeshPod;
    let friend: Pod;
    let stranger: Pod;

    before(async () => {
      lab = await createLab();
      await lab.node();
      outside = await lab.outsideHost();
      mesh = await startMesh(lab, { kernelPath: true, redirect: { variant } });
      server = await mesh.pod({ name: 'server' });
      ({ pod: friend } = await mesh.pod({ name: 'friend' }));
      ({ pod: stranger } = await mesh.pod({ name: 'stranger' }));
      await server.pod.serve({ port: 8080, mode: 'double' });
      await server.pod.serve({ port: 9090, mode: 'double' });
      await stranger.serve({ port: 7001, mode: 'double' });
      await untilEnrolled(mesh, [server.pod, friend, stranger]);
    });
    after(async () => {
      await mesh?.close();
      await lab?.close();
    });

    /** Returns the logged paths of the connections that `act` opens, outbound and inbound. */
    async function pathsOf(act: () => Promise<unknown>): Promise<{ outbound: string[]; inbound: string[] }> {
      const watch = await mesh.node().proxy.watch();
      await act();
      // Lines of this connection follow those of all earlier ones.
      const last = { 'dst.workload': 'stranger' };
      await echo(friend, stranger.addresses.v4, 7001);
      await Promise.all([watch.line('outbound', last), watch.line('inbound', last)]);
      const lines = watch.lines.filter(
        ({ message, fields }) =>
          message === 'connection complete' && fields['dst.workload'] !== last['dst.workload'],
      );
      const paths = (direction: string) =>
        lines
          .filter(({ fields }) => fields['direction'] === direction)
          .map(({ fields }) => fields['path'] ?? 'tunnel');
      return { outbound: paths('outbound'), inbound: paths('inbound') };
    }

    for (const family of ['v4', 'v6'] as const) {
      test(`an HBONE pod of the same node is reached in the kernel, past capture on both sides (IP${family})`, async () => {
        const paths = await pathsOf(() => echo(friend, server.pod.addresses[family]));
        assert.deepEqual(paths, { outbound: ['kernel'], inbound: ['kernel'] });
      });

      test(`plaintext from outside the mesh that is allowed without an identity has no userspace hop (IP${family})`, async () => {
        const paths = await pathsOf(() => echo(outside, server.pod.addresses[family]));
        assert.deepEqual(paths, { outbound: [], inbound: ['kernel'] });
      });

      test(`a destination outside the mesh is dialled directly (IP${family})`, async () => {
        const serving = await outside.serve({ port: 7070, mode: 'double' });
        const paths = await pathsOf(() => echo(friend, outside.addresses[family], 7070));
        assert.deepEqual([paths.inbound, paths.outbound.includes('tunnel')], [[], false]);
        await serving.close();
      });

      test(`connections of a pod to itself are not changed (IP${family})`, async () => {
        await echo(server.pod, server.pod.addresses[family]);
        await echo(server.pod, family === 'v4' ? '127.0.0.1' : '::1');
      });
    }

    test('a denied peer is refused by the tunnel path, an allowed one stays in the kernel, by port too', async () => {
      const onlyFriend = policy('Allow', {
        principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-friend' }],
        destinationPorts: [8080],
      });
      const bound = { ...onlyFriend, policy: { ...onlyFriend.policy, scope: 'WorkloadSelector' as const } };
      await mesh.apply(bound, withPolicies(server, ['default/test']));
      await untilTablesFollow(mesh);
      const { v4 } = server.pod.addresses;
      const allowed = await pathsOf(() => echo(friend, v4));
      assert.deepEqual(allowed, { outbound: ['kernel'], inbound: ['kernel'] });
      for (const [from, port] of [
        [stranger, 8080],
        [friend, 9090],
        [outside, 8080],
      ] as const) {
        const { how, bytes } = await attempt(from, v4, port);
        assert.deepEqual([how === 'open', bytes], [false, ''], `${from.name} to port ${port}`);
      }
      await mesh.apply(withPolicies(server, []), without(bound));
    });

    test('NEG-02: under STRICT connections within a node stay in the kernel, and an address or a mark admits nothing', async () => {
      await mesh.apply(strict);
      await untilTablesFollow(mesh);
      const { v4 } = server.pod.addresses;
      assert.deepEqual(await pathsOf(() => echo(friend, v4)), { outbound: ['kernel'], inbound: ['kernel'] });
      assert.deepEqual((await attempt(outside, v4, 8080)).bytes, '');
      // A privileged pod that sets the mark itself bypasses its own capture, but not policy.
      const noStranger = policy('Deny', {
        principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-stranger' }],
      });
      await mesh.apply(noStranger);
      assert.deepEqual(await rawAttempt(stranger, v4, { mark: KMESH_MARK }), '');
      await mesh.apply(without(noStranger), without(strict));
    });

    test('a pod that takes the address of another does not get its identity', async () => {
      const onlyFriend = policy('Allow', {
        principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-friend' }],
      });
      await mesh.apply(onlyFriend);
      await untilTablesFollow(mesh);
      await stranger.addAddress(friend.addresses.v4, 'lo');
      assert.equal(
        await rawAttempt(stranger, server.pod.addresses.v4, { bindAddress: friend.addresses.v4 }),
        '',
      );
      await stranger.run('ip', ['addr', 'del', `${friend.addresses.v4}/32`, 'dev', 'lo']);
      // It had answered for that address.
      for (const pod of [server.pod, friend]) await pod.run('ip', ['neigh', 'flush', 'all']);
      await mesh.apply(without(onlyFriend));
    });

    test('NEG-10: a DENY closes live connections of the kernel path at once, and only those', async () => {
      const { v4 } = server.pod.addresses;
      const denied = await open(stranger, v4, 8080);
      const kept = await open(friend, v4, 8080);
      await exchange(denied);
      await exchange(kept);
      const noStranger = policy('Deny', {
        principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-stranger' }],
      });
      await mesh.apply(noStranger);
      // About 30 ms; the limit allows for a busy machine.
      assert.notEqual(await ending(denied, 5_000), 'open');
      await exchange(kept);
      kept.destroy();
      denied.destroy();
      await mesh.apply(without(noStranger));
    });

    test('no connect that begins after a DENY was acknowledged is served, in any race of changes and dials', async () => {
      const noStranger = policy('Deny', {
        principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-stranger' }],
      });
      const to = `${server.pod.addresses.v4}:8080`;
      for (let round = 0; round < 5; round++) {
        const dialing = stranger.startDialing({
          to,
          connections: 0,
          concurrency: 8,
          mode: 'http',
          timeoutMs: 1_500,
        });
        await dialing.turns(8);
        await mesh.apply(noStranger);
        await dialing.epoch(1);
        // Some that were denied.
        await dialing.turns(8);
        const report = await dialing.stop();
        assert.deepEqual(
          report.byEpoch.filter(({ epoch }) => epoch === 1),
          [],
        );
        await mesh.apply(without(noStranger));
      }
    });

    test('the kubelet still reaches the pod, and istio-cni may write its rules again', async () => {
      await installProbeSource(mesh.node().node, [server.pod]);
      await echo(mesh.node().node, server.pod.addresses.v4);
      const socket = await open(friend, server.pod.addresses.v4, 8080);
      await exchange(socket);
      await removeRedirect(server.pod, { variant, dns: false });
      await installRedirect(server.pod, { variant, dns: false });
      await exchange(socket);
      socket.destroy();
      await eventually('connections take the kernel path', async () => {
        const { outbound, inbound } = await pathsOf(() => echo(friend, server.pod.addresses.v4));
        return outbound.join() === 'kernel' && inbound.join() === 'kernel';
      });
    });

    test('NEG-39: marks and rules of other software are not changed', async () => {
      const rules =
        'table inet other {\n chain first {\n type filter hook output priority -310;\n meta mark set meta mark or 0x70000\n }\n}\n';
      await friend.run('nft', ['-f', '-'], { input: rules });
      const { stdout: earlier } = await friend.run('nft', ['list', 'table', 'inet', 'other']);
      await echo(friend, server.pod.addresses.v4);
      assert.equal((await friend.run('nft', ['list', 'table', 'inet', 'other'])).stdout, earlier);
      await friend.run('nft', ['delete', 'table', 'inet', 'other']);
    });

    test("a pod's own redirect applies to connections that bypass its capture", async () => {
      const rules = [8090, 8080].map((port) => `tcp dport ${port} redirect to :8091`).join('\n ');
      const chain = `chain output {\n type nat hook output priority -99\n ${rules}\n }`;
      await outside.serve({ port: 8090, name: 'outside' });
      await friend.serve({ port: 8091, name: 'local' });
      const { v4, v6 } = outside.addresses;
      const to = [`${v4}:8090`, `[${v6}]:8090`, `${server.pod.addresses.v4}:8080`];
      const outsideOnly = to.slice(0, 2);
      const dial = async (destinations: string[]) =>
        (await friend.dial({ to: destinations, connections: destinations.length })).byEndpoint;
      assert.deepEqual(await dial(outsideOnly), { outside: 2 });
      await friend.run('nft', ['-f', '-'], { input: `table inet own {\n ${chain}\n}\n` });
      assert.deepEqual(await dial(to), { local: 3 });
      await friend.run('nft', ['delete', 'table', 'inet', 'own']);
      assert.deepEqual(await dial(outsideOnly), { outside: 2 });
    });

    test('a pod that leaves the mesh keeps no rules or programs, and its connections continue', async () => {
      const leaver = await mesh.pod({ name: 'leaver' });
      await leaver.pod.serve({ port: 8080, mode: 'double' });
      await untilEnrolled(mesh, [leaver.pod]);
      const socket = await open(friend, leaver.pod.addresses.v4, 8080);
      await exchange(socket);
      await mesh.node().agent.removePod(leaver.pod);
      await eventually('the rules are removed', async () => (await kmeshTable(leaver.pod)) === '');
      const filters = await leaver.pod.run('tc', ['filter', 'show', 'dev', 'eth0', 'ingress']);
      assert.equal(filters.stdout.trim(), '');
      await exchange(socket);
      socket.destroy();
    });
  });
}

/**
 * Returns the answer to a privileged process of a pod that chose its mark or address; fails if the connection stays
 * open.
 */
async function rawAttempt(
  from: Pod,
  address: string,
  options: { readonly mark?: number; readonly bindAddress?: string },
): Promise<string> {
  using namespace = openNetworkNamespace(from.namespacePath);
  let fd: number;
  try {
    fd = await connectSocket({ namespace, address, port: 8080, timeout: 2_000, ...options });
  } catch {
    return '';
  }
  const socket = new Socket({ fd, readable: true, writable: true });
  socket.on('error', () => undefined);
  let bytes = '';
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.toString('latin1');
  });
  socket.write('hello world');
  const how = await ending(socket, 3_000);
  socket.destroy();
  assert.notEqual(how, 'open');
  return bytes;
}

async function kmeshTable(pod: Pod): Promise<string> {
  return (await pod.run('nft', ['list', 'table', 'inet', 'kmesh'], { check: false })).stdout;
}

function withPolicies({ workload }: MeshPod, authorizationPolicies: readonly string[]) {
  return { ...workload, authorizationPolicies };
}
