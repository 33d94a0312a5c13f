import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  commandOf,
  createLab,
  kmeshctlExecutable,
  type LabMesh,
  type Node,
  type Pod,
  startMesh,
  workloadOf,
} from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { loadEmptyProgram } from '@kmesh/lab/testing/kernel/empty-program.ts';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { enableProgramStatistics, openNetworkNamespace } from '@kmesh/linux';

/** Counts packets from and to port 8080 that the node forwards, first packets separately. */
const seen = (family: 'bridge' | 'inet') => `table ${family} seen {
  chain forward {
    type filter hook forward priority 0;
    tcp dport 8080 tcp flags & (syn | ack) == syn counter name syns accept
    tcp dport 8080 counter name others
    tcp sport 8080 counter name others
  }
  counter syns {
  }
  counter others {
  }
}
`;

/** Creates a captured pod whose network is changed before the mesh is installed there. */
async function podWith(
  mesh: LabMesh,
  name: string,
  change: (pod: Pod, node: Node, device: string) => Promise<void>,
): Promise<Pod> {
  const { node, agent } = mesh.node();
  const pod = await node.pod({ name, serviceAccount: `sa-${name}` });
  await change(pod, node, await nodeDevice(node, pod));
  await mesh.apply(workloadOf(pod, { protocol: 'HBONE' }));
  assert.equal(await agent.addPod(pod), '');
  return pod;
}

/** Returns the name of the node's side of a pod's interface. */
async function nodeDevice(node: Node, pod: Pod): Promise<string> {
  const links = async (host: Node | Pod) =>
    JSON.parse((await host.run('ip', ['-j', 'link'])).stdout) as {
      readonly ifname: string;
      readonly ifindex: number;
      readonly link_index?: number;
    }[];
  const other = (await links(pod)).find(({ ifname }) => ifname === 'eth0')?.link_index;
  const found = (await links(node)).find(({ ifindex }) => ifindex === other);
  assert.ok(found, `${pod.name} has an end on ${node.name}`);
  return found.ifname;
}

async function counted(node: Node, family: string, act: () => Promise<void>) {
  const packets = async (counter: string) => {
    const { stdout } = await node.run('nft', ['list', 'counter', family, 'seen', counter]);
    return Number(/packets (\d+)/.exec(stdout)?.[1]);
  };
  await node.run('nft', ['-f', '-'], { input: seen(family as 'bridge') });
  await act();
  const found = { syns: await packets('syns'), others: await packets('others') };
  await node.run('nft', ['delete', 'table', family, 'seen']);
  return found;
}

/** Asserts that a live connection ends with its next packet after a DENY of its client. */
async function endsByPolicy(mesh: LabMesh, client: Pod, server: Pod): Promise<void> {
  const deny = policy('Deny', {
    principals: [{ kind: 'Exact', value: `cluster.local/ns/default/sa/${client.serviceAccount}` }],
    destinationPorts: [8081],
  });
  const socket = await open(client, server.addresses.v4, 8081);
  await exchange(socket);
  await mesh.apply(deny);
  socket.write('after');
  assert.notEqual(await ending(socket, 5_000), 'open');
  socket.destroy();
  await mesh.apply(without(deny));
}

describe('the wire on other kinds of networks', () => {
  test('beside a program of other software at the hook it judges packets and leaves delivery to the node', async () => {
    await using lab = await createLab();
    await lab.node();
    await using mesh = await startMesh(lab, { kernelPath: true });
    const { node } = mesh.node();
    using foreign = await loadEmptyProgram();
    using statistics = enableProgramStatistics();
    void statistics;
    using namespace = openNetworkNamespace(node.namespacePath);
    using links = new DisposableStack();
    const occupied = async (_pod: Pod, _node: Node, device: string) => {
      const link = foreign.program('empty_tc').attachTc({ device, direction: 'ingress', namespace });
      links.defer(() => link.close());
    };
    const [client, server] = [
      await podWith(mesh, 'client', occupied),
      await podWith(mesh, 'server', occupied),
    ];
    await server.serve({ port: 8080, mode: 'http' });
    await server.serve({ port: 8081, mode: 'double' });
    const to = `${server.addresses.v4}:8080`;
    await takesKernelPath(mesh, client, to);
    const { syns, others } = await counted(node, 'bridge', async () => {
      assert.equal((await client.dial({ to, mode: 'http', connections: 20 })).failed, 0);
    });
    assert.equal(syns, 20);
    assert.ok(others >= 20 * 4, `${others} later packets went the node's way`);
    assert.ok(foreign.program('empty_tc').info().runCount >= 20n * 6n, 'the other program sees every packet');
    assert.match(mesh.node().proxy.log, /other software has a program at the node side of a pod’s interface/);
    const { stdout } = await node.run(...commandOf(kmeshctlExecutable, 'check'), { check: false });
    assert.match(
      stdout,
      /^warning +hook +the wire +other software has a program .* of 2 of 2 pods, such as default\/client/m,
    );
    await endsByPolicy(mesh, client, server);
  });

  test('between routed pods it delivers all packets except the first', async () => {
    await using lab = await createLab();
    await lab.node();
    await using mesh = await startMesh(lab, { kernelPath: true });
    const { node } = mesh.node();
    const routed = async (pod: Pod, _: Node, device: string) => {
      await node.run('ip', ['link', 'set', device, 'nomaster']);
      await node.run('ip', ['addr', 'replace', '169.254.1.1/32', 'dev', 'lo']);
      await node.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
      await node.run('ip', ['route', 'add', `${pod.addresses.v4}/32`, 'dev', device]);
      await pod.run('ip', ['-4', 'addr', 'flush', 'dev', 'eth0', 'scope', 'global']);
      await pod.run('ip', ['addr', 'add', `${pod.addresses.v4}/32`, 'dev', 'eth0']);
      await pod.run('ip', ['route', 'add', '169.254.1.1', 'dev', 'eth0']);
      await pod.run('ip', ['route', 'add', 'default', 'via', '169.254.1.1', 'dev', 'eth0']);
    };
    const [client, server] = [await podWith(mesh, 'client', routed), await podWith(mesh, 'server', routed)];
    await server.serve({ port: 8080, mode: 'http' });
    await server.serve({ port: 8081, mode: 'double' });
    const to = `${server.addresses.v4}:8080`;
    await takesKernelPath(mesh, client, to);
    const found = await counted(node, 'inet', async () => {
      assert.equal((await client.dial({ to, mode: 'http', connections: 20 })).failed, 0);
    });
    assert.deepEqual(found, { syns: 20, others: 0 });
    await endsByPolicy(mesh, client, server);
  });
});
