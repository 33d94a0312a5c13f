import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { endpointText, type LabMesh, type Pod } from '@kmesh/lab';
import { attempt, echo, exchange, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import {
  type HandoffScene,
  handoffScene,
  trackedConnections,
} from '@kmesh/lab/testing/traffic/handoff-scene.ts';
import { assertFields } from '@kmesh/lab/testing/traffic/paths.ts';
import { tcpSocketsOf } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';

const captures = [
  ['captured by iptables', { variant: 'iptables' }],
  ['captured by nftables', { variant: 'nftables' }],
  ['without capture rules', false],
] as const;

for (const [name, capture] of captures) {
  describe(`tunnel connections of pods ${name} are handed from connect to the proxy`, () => {
    let scene: HandoffScene;
    let mesh: LabMesh;
    let client: Pod;
    let far: Pod;

    before(async () => {
      scene = await handoffScene(capture);
      ({ mesh, client, far } = scene);
    });
    after(() => scene?.[Symbol.asyncDispose]());

    for (const form of ['v4', 'v6', 'mapped'] as const) {
      const family = form === 'v6' ? 'v6' : 'v4';

      test(`NSP-02, BPF-09: HBONE carries them, and the socket shows the pod's own and the dialled address (${form})`, async () => {
        const address = far.addresses[family];
        const own = client.addresses[family];
        const from = await mesh.proxyOf(client).watch();
        const to = await mesh.proxyOf(far).watch();
        const socket = await open(client, form === 'mapped' ? `::ffff:${address}` : address, 8080);
        try {
          await exchange(socket);
          const prefix = form === 'mapped' ? '::ffff:' : '';
          assert.deepEqual(
            [socket.remoteAddress, socket.remotePort, socket.localAddress],
            [prefix + address, 8080, prefix + own],
          );
          const source = endpointText(own, socket.localPort ?? 0);
          socket.end();
          const peers = {
            'src.identity': spiffe(client),
            'dst.identity': spiffe(far),
            'dst.hbone_addr': endpointText(address, 8080),
          };
          assertFields(await from.line('outbound'), { ...peers, 'src.addr': source, error: undefined });
          assertFields(await to.line('inbound'), { ...peers, error: undefined });
        } finally {
          socket.destroy();
        }
      });

      test(`the server's application sees the client pod's address (${form})`, async () => {
        const seen: (string | undefined)[] = [];
        const server = await far.listen({ port: 8090 }, (socket) => {
          seen.push(socket.remoteAddress?.replace('::ffff:', ''));
          socket.end('seen');
        });
        const address = far.addresses[family];
        const { bytes } = await attempt(client, form === 'mapped' ? `::ffff:${address}` : address, 8090, '');
        assert.deepEqual([bytes, seen], ['seen', [client.addresses[family]]]);
        server.close();
      });

      test(`direct connections to the proxy's port are closed (NSP-24, NSP-26; ${form})`, async () => {
        const loopback = { v4: '127.0.0.1', v6: '::1', mapped: '::ffff:127.0.0.1' }[form];
        for (const port of [15001, 15006, 15008]) {
          const own = await attempt(client, client.addresses[family], port);
          assert.deepEqual(own, { how: 'cut', bytes: '' }, `own address, port ${port}`);
          const local = await attempt(client, loopback, port);
          assert.deepEqual(local, { how: 'cut', bytes: '' }, `loopback, port ${port}`);
        }
      });

      test(`NSP-14: connections of a pod to itself are not handed to its proxy (${form})`, async () => {
        const serving = await client.serve({ port: 7001, mode: 'double' });
        const watch = await mesh.proxyOf(client).watch();
        const address = client.addresses[family];
        await echo(client, form === 'mapped' ? `::ffff:${address}` : address, 7001);
        // The line of a handed-off connection follows those of earlier ones.
        await echo(client, far.addresses[family]);
        await watch.line('outbound', { 'dst.workload': 'far' });
        const outbound = watch.lines.filter(({ fields }) => fields['direction'] === 'outbound');
        // Connections of an earlier test may be logged here too.
        const toItself = outbound.filter(({ fields }) =>
          /:7001$/.test(fields['dst.hbone_addr'] ?? fields['dst.addr'] ?? ''),
        );
        assert.deepEqual(toItself, []);
        await serving.close();
      });
    }

    test('an application that has bound a source address keeps it, and its mark', async () => {
      const socket = await client.connect({
        host: far.addresses.v4,
        port: 8080,
        localAddress: client.addresses.v4,
        localPort: 40_321,
      });
      await exchange(socket.on('error', () => undefined));
      assert.equal(socket.localPort, 40_321);
      socket.destroy();
    });

    test('neither NAT nor conntrack knows the connections', async () => {
      await echo(client, far.addresses.v4);
      await echo(client, far.addresses.v6);
      const before = await trackedConnections(client);
      const sockets: Socket[] = [];
      for (let index = 0; index < 20; index++) {
        const socket = await open(client, far.addresses[index % 2 === 0 ? 'v4' : 'v6'], 8080);
        await exchange(socket);
        sockets.push(socket);
      }
      const grown = (await trackedConnections(client)) - before;
      for (const socket of sockets) socket.destroy();
      assert.ok(grown <= 1, `${grown} connections are tracked`);
    });

    test('bytes of a connection that closes before the proxy accepts it arrive', async () => {
      const received = Promise.withResolvers<string>();
      const server = await far.listen({ port: 8091 }, (socket) => {
        let text = '';
        socket.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        socket.on('end', () => {
          received.resolve(text);
          socket.end();
        });
      });
      mesh.proxyOf(client).kill('SIGSTOP');
      try {
        const socket = await open(client, far.addresses.v4, 8091);
        const text = 'no answer is expected';
        socket.end(text);
        await eventually('it waits at the proxy', async () =>
          (await tcpSocketsOf(client)).some(({ receiveQueue }) => receiveQueue >= text.length),
        );
      } finally {
        mesh.proxyOf(client).kill('SIGCONT');
      }
      assert.equal(await received.promise, 'no answer is expected');
      server.close();
    });
  });
}
