import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Why } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import {
  createLab,
  endpointText,
  type Lab,
  type LabMesh,
  type MeshPod,
  type Pod,
  startMesh,
} from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { exchange, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** Counts packets from and to port 8080 on the node's bridge, and may drop them. */
const seen = (verdict: string) => `table bridge seen {
  chain forward {
    type filter hook forward priority 0;
    tcp dport 8080 tcp flags & (syn | ack) == syn counter name syns ${verdict}
    tcp dport 8080 counter name others
    tcp sport 8080 counter name others
  }
  counter syns {
  }
  counter others {
  }
}
`;

/** Rejects first packets to a port, as some CNIs do what a NetworkPolicy does not admit. */
const rejecting = (port: number) => `table inet rejecting {
  chain forward {
    type filter hook forward priority 0
    tcp dport ${port} tcp flags & (syn | ack) == syn reject with icmpx type port-unreachable
  }
}
`;

describe('the wire', () => {
  let lab: Lab;
  let mesh: LabMesh;
  let server: MeshPod;
  let client: Pod;
  let to: string;

  before(async () => {
    lab = await createLab();
    await lab.node();
    mesh = await startMesh(lab, {
      kernelPath: true,
      environment: { KMESH_LEASE: '3s', KMESH_PINS: `${await lab.bpffs()}/kmesh` },
    });
    server = await mesh.pod({ name: 'server' });
    ({ pod: client } = await mesh.pod({ name: 'client' }));
    await server.pod.serve({ port: 8080, mode: 'http' });
    await server.pod.serve({ port: 8081, mode: 'double' });
    to = `${server.pod.addresses.v4}:8080`;
    await takesKernelPath(mesh, client, to);
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
  });

  const node = () => mesh.node().node;

  /** Returns the answer of `kmeshctl why`. */
  async function answerOf(destination: string): Promise<string> {
    const query = new URLSearchParams({ source: `default/${client.name}`, destination });
    const { body } = await mesh.node().proxy.http(15000, `/kmesh/why?${query}`);
    const { path, outcomes } = JSON.parse(body) as Why;
    return `${path}: ${outcomes.map(({ because }) => because).join('; ')}`;
  }

  async function packets(counter: 'syns' | 'others'): Promise<number> {
    const { stdout } = await node().run('nft', ['list', 'counter', 'bridge', 'seen', counter]);
    return Number(/packets (\d+)/.exec(stdout)?.[1]);
  }

  async function watchingBridge(verdict: string, act: () => Promise<void>): Promise<void> {
    await node().run('nft', ['-f', '-'], { input: seen(verdict) });
    try {
      await act();
    } finally {
      await node().run('nft', ['delete', 'table', 'bridge', 'seen']);
    }
  }

  test('BPF-05: of connections between two pods of a node the bridge carries only the first packet', async () => {
    await watchingBridge('accept', async () => {
      const both = Object.values(server.pod.addresses).map((address) => endpointText(address, 8080));
      for (const each of both) {
        const report = await client.dial({ to: each, mode: 'http', connections: 20 });
        assert.equal(report.failed, 0);
      }
      assert.deepEqual([await packets('syns'), await packets('others')], [40, 0]);
    });
  });

  test('if the network drops packets to the port, the next connects take the tunnel path, and one line is logged', async () => {
    const watch = await mesh.node().proxy.watch();
    const there = `${server.pod.addresses.v4}:8080`;
    await watchingBridge('drop', async () => {
      // The kernel retransmits a first packet after one second.
      await client.dial({ to: there, mode: 'http', connections: 1, timeoutMs: 2_500 });
      const report = await client.dial({ to: there, mode: 'http', connections: 10, concurrency: 2 });
      assert.equal(report.failed, 0);
      await mesh.node().proxy.until('the port is named', () => /blocks a port/.test(watch.text));
      assert.equal(watch.text.match(/blocks a port/g)?.length, 1);
      assert.match(await answerOf(there), /^tunnel: .*does not let the port through/);
      const other = `${server.pod.addresses.v4}:8081`;
      assert.match(await answerOf(other), /^kernel: .*is kept/);
    });
  });

  for (const [family, port] of [
    ['v4', 8082],
    ['v6', 8083],
  ] as const) {
    test(`if the network rejects a first packet by ICMP, the next connects take the tunnel path (IP${family})`, async () => {
      await server.pod.serve({ port, mode: 'http' });
      const there = endpointText(server.pod.addresses[family], port);
      const watch = await mesh.node().proxy.watch();
      await node().run('nft', ['-f', '-'], { input: rejecting(port) });
      try {
        // Earlier than the first packet is retransmitted, which would reveal it, too.
        const first = await client.dial({ to: there, mode: 'http', connections: 1, timeoutMs: 600 });
        assert.equal(first.failed, 1);
        const report = await client.dial({ to: there, mode: 'http', connections: 10, concurrency: 2 });
        assert.equal(report.failed, 0);
        await mesh.node().proxy.until('the port is named', () => /blocks a port/.test(watch.text));
        assert.match(await answerOf(there), /^tunnel: .*does not let the port through/);
      } finally {
        await node().run('nft', ['delete', 'table', 'inet', 'rejecting']);
      }
    });
  }

  test('NEG-10: a connection that a policy denies ends with its next packet', async () => {
    const noClient = policy('Deny', {
      principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }],
      destinationPorts: [8081],
    });
    const socket = await open(client, server.pod.addresses.v4, 8081);
    await exchange(socket);
    await mesh.apply(noClient);
    socket.write('after');
    assert.notEqual(await ending(socket, 5_000), 'open');
    socket.destroy();
    await mesh.apply(without(noClient));
  });

  test('after the lease of a dead daemon its live connections end, and only capture decides', async () => {
    const socket = await open(client, server.pod.addresses.v4, 8081);
    await exchange(socket);
    const { proxy } = mesh.node();
    proxy.kill('SIGKILL');
    await proxy.ended;
    await exchange(socket);
    const ended = ending(socket, 10_000);
    await eventually('an exchange fails', () =>
      exchange(socket).then(
        () => false,
        () => true,
      ),
    );
    assert.notEqual(await ended, 'open');
    socket.destroy();
    proxy.start();
    await proxy.ready();
  });
});
