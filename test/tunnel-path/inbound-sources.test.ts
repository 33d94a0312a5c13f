import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import type { Policy } from '@kmesh/api';
import { startTestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, doubleEcho, ending, listen, readExactly } from '@kmesh/lab/testing/tunnel/traffic.ts';

const AT_ONCE = 32;
/** Number of texts that the engine caches and sends to its handlers once. */
const REMEMBERED = 4_096;
/** Addresses of the server; each is a new text in an event whose other text is cached. */
const TARGETS = 60;

/** Additional prefixes of client and server, and the n-th address of each. */
const families = {
  IPv4: {
    family: 'v4',
    allowed: '10.200.0.0/16',
    start: '10.200.',
    denied: '10.202.0.0/16',
    servers: '10.201.0.0/16',
    address: (prefix: string, at: number) => prefix.replace('0.0/16', `${at >> 8}.${at & 255}`),
  },
  IPv6: {
    family: 'v6',
    allowed: 'fd00:200::/64',
    start: 'fd00:200::',
    denied: 'fd00:202::/64',
    servers: 'fd00:201::/64',
    address: (prefix: string, at: number) => prefix.replace('/64', at.toString(16)),
  },
} as const;

for (const [name, { family, allowed, start, denied, servers, address }] of Object.entries(families)) {
  test(`ROB-01, INB-20: more ${name} sources than the engine caches are each authorised by their own address, also with a new destination`, async () => {
    await using mesh = await startTestMesh({ nodes: 1 });
    const { pod: client } = await mesh.pod({ captured: false, name: 'client' });
    const { pod: server, workload } = await mesh.pod({ name: 'server' });
    const { node } = mesh.proxy(0);
    for (const prefix of [allowed, denied]) {
      await client.run('ip', ['route', 'add', 'local', prefix, 'dev', 'lo']);
      await node.run('ip', ['route', 'add', prefix, 'via', client.addresses[family]]);
    }
    await server.run('ip', ['route', 'add', 'local', servers, 'dev', 'lo']);
    await node.run('ip', ['route', 'add', servers, 'via', server.addresses[family]]);
    const targets = Array.from({ length: TARGETS }, (_, at) => address(servers, at + 1));
    mesh.apply(
      { kind: 'policy', policy: allowFrom(allowed) },
      { ...workload, addresses: [...workload.addresses, ...targets] },
    );
    const listening = mesh.own(await listen(server, 8080, doubleEcho));

    const dial = async (source: string, target: string): Promise<boolean> => {
      let socket: Socket | undefined;
      try {
        socket = await connect(client, target, 8080, { bindAddress: source, transparent: true });
        socket.write('own?');
        await readExactly(socket, 8);
        return true;
      } catch (error) {
        if (socket === undefined) throw error;
        assert.notEqual(await ending(socket), 'open', `${source} to ${target}`);
        return false;
      } finally {
        socket?.destroy();
      }
    };
    // The oldest cached text, until the engine clears its cache during the new targets.
    const regular = address(allowed, 1);
    const own = server.addresses[family];
    assert.ok(await dial(regular, own));
    const many = REMEMBERED - TARGETS / 3 - 2;
    const plan = [
      ...Array.from({ length: many }, (_, at) => [address(at % 2 === 0 ? allowed : denied, at + 2), own]),
      ...targets.map((target) => [regular, target]),
      ...Array.from({ length: 300 }, (_, at) => [address(at % 2 === 0 ? allowed : denied, at + 9_000), own]),
    ] as [string, string][];
    const isAllowed = (source: string) => source.startsWith(start);
    const wrong: string[] = [];
    let next = 0;
    const work = async () => {
      for (let at = next++; at < plan.length; at = next++) {
        const [source, target] = plan[at] as [string, string];
        const may = isAllowed(source);
        if ((await dial(source, target)) !== may)
          wrong.push(`${source} to ${target} ${may ? 'denied' : 'allowed'}`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    assert.deepEqual(wrong, []);
    // The application sees the address that the proxy authorised.
    const served = [regular, ...plan.map(([source]) => source)].filter(isAllowed);
    assert.deepEqual(listening.seen.peers.toSorted(), served.toSorted());
  });
}

/** Allows only plaintext from one prefix. */
function allowFrom(prefix: string): Policy {
  return {
    ...{ name: 'own-sources', namespace: 'default', scope: 'Namespace', action: 'Allow', dryRun: false },
    rules: [[[{ sourceIps: [prefix] }]]],
  };
}
