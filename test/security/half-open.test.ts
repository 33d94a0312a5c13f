/** Handshakes whose last packet is delayed while something changes. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { createLab, type Host, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { attempt, open } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { tcpSocketsOf } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

const PORT = 8086;

type Family = 'v4' | 'v6';

/** Drops the client's ACKs, so that its handshakes do not complete. */
const HOLD = `table inet hold {
  chain output {
    type filter hook output priority 0;
    tcp dport ${PORT} tcp flags & (syn | ack) == ack counter drop
  }
}
`;
const denial = policy('Deny', {
  principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }],
});
const synReceived = 3;

describe('half-open handshakes with a pod, on the kernel path', () => {
  let lab: Lab;
  let mesh: LabMesh;
  let server: Pod;
  let accepted = 0;
  const clients: Record<string, Host> = {};
  const listen = () =>
    server.listen({ port: PORT }, (socket) => {
      accepted++;
      socket.on('error', () => undefined);
      socket.on('data', (data) => socket.write(data));
      socket.on('end', () => socket.end());
    });
  let listener: Awaited<ReturnType<typeof listen>>;

  before(async () => {
    lab = await createLab();
    await lab.node();
    mesh = await startMesh(lab, { kernelPath: true });
    const { pod: client } = await mesh.pod({ name: 'client' });
    ({ pod: server } = await mesh.pod({ name: 'server', captured: { variant: 'nftables' } }));
    const { pod: neighbour } = await mesh.pod({ name: 'neighbour', captured: false });
    Object.assign(clients, { client, neighbour, outside: await lab.outsideHost() });
    listener = await listen();
    await untilEnrolled(mesh, [client, server]);
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
  });

  const served = async (from: Host, family: Family) =>
    (await attempt(from, server.addresses[family], PORT, 'hello', 500, 5)).bytes;

  /** Returns the outcome of a handshake whose last packet arrives after `change`. */
  async function complete(
    from: Host,
    family: Family,
    change: () => Promise<void>,
  ): Promise<{ how: string; more: number }> {
    await from.run('nft', ['-f', '-'], { input: HOLD });
    try {
      const socket = await open(from, server.addresses[family], PORT);
      socket.resume();
      await eventually('the server waits for the last packet', async () =>
        (await tcpSocketsOf(server)).some(
          ({ state, localPort }) => state === synReceived && localPort === PORT,
        ),
      );
      const before = accepted;
      await change();
      await from.run('nft', ['delete', 'table', 'inet', 'hold']);
      socket.write('hello');
      const how = await ending(socket, 10_000);
      socket.destroy();
      return { how, more: accepted - before };
    } finally {
      await from.run('nft', ['delete', 'table', 'inet', 'hold'], { check: false });
    }
  }

  const whoAndHow = Object.entries({ client: denial, neighbour: strict, outside: strict }).flatMap(
    ([name, change]) => (['v4', 'v6'] as const).map((family) => ({ name, change, family })),
  );
  for (const { name, change, family } of whoAndHow) {
    test(`NEG-10: of ${name} over IP${family} is not completed once a policy denies it`, async () => {
      const from = clients[name];
      assert.ok(from);
      assert.equal(await served(from, family), 'hello', 'allowed before');
      const { how, more } = await complete(from, family, () => mesh.apply(change));
      assert.notEqual(how, 'open');
      assert.equal(more, 0);
      await mesh.apply(without(change));
      await untilTablesFollow(mesh);
      await eventually('it is served again', async () => (await served(from, family)) === 'hello');
    });

    test(`of ${name} over IP${family} ends when the server no longer listens, and the next one is served when it does again`, async () => {
      const from = clients[name];
      assert.ok(from);
      const { how, more } = await complete(from, family, async () => {
        listener.close();
      });
      assert.notEqual(how, 'open');
      assert.equal(more, 0);
      assert.equal(await served(from, family), '');
      listener = await listen();
      await eventually('it is served again', async () => (await served(from, family)) === 'hello');
    });
  }
});
