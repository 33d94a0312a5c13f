import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Pod } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, doubleEcho, listen, readExactly } from '@kmesh/lab/testing/tunnel/traffic.ts';

let mesh: TestMesh;

before(async () => {
  mesh = await startTestMesh({ nodes: 2 });
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

/** Congestion control of a pod's established sockets that a filter of `ss` selects. */
async function algorithms(pod: Pod, filter: string): Promise<string[]> {
  const { stdout } = await pod.run('ss', ['-tinH', 'state', 'established', filter]);
  return [...stdout.matchAll(/^\s+(\w+) wscale:/gm)].map(([, name = '']) => name);
}

test('in a pod with BBR the proxy uses BBR between nodes and not towards the pod’s own applications', async () => {
  // New namespaces have the host's default, and the proxy listens before it can be changed.
  const ofHost = readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim();
  const { pod: client } = await mesh.pod();
  const { pod: server } = await mesh.pod({ node: 1 });
  const { pod: outside } = await mesh.pod({ captured: false });
  await server.run('sysctl', ['-w', 'net.ipv4.tcp_congestion_control=bbr']);
  const listening = mesh.own(await listen(server, 8080, doubleEcho));
  for (const from of [client, outside]) {
    const socket = await connect(from, server.addresses.v4, 8080);
    socket.write('hello world');
    await readExactly(socket, 22);
    assert.deepEqual(await algorithms(server, 'dport = :8080'), ['reno'], 'to the application');
    if (from === client) {
      assert.deepEqual(await algorithms(server, 'sport = :15008'), ['bbr'], 'to the other node');
      const accepted = ofHost === 'bbr' ? 'reno' : ofHost;
      assert.deepEqual(await algorithms(client, 'sport = :15001'), [accepted], 'to the client');
    } else {
      assert.deepEqual(await algorithms(server, 'sport = :15006'), ['bbr'], 'to a client elsewhere');
    }
    socket.destroy();
    const open = async () => (await algorithms(server, 'dport = :8080')).length;
    await mesh.proxy(1).records.closed('destination');
    mesh.clear();
    assert.equal(await open(), 0);
  }
  listening.close();
});
