import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { Policy, PolicyMatch, Workload } from '@kmesh/api';
import { type Host, installProbeSource, openHbone, type Pod } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import {
  connect,
  doubleEcho,
  ending,
  fate,
  hello,
  listen,
  readAll,
  readExactly,
} from '@kmesh/lab/testing/tunnel/traffic.ts';
import { MeshState } from '@kmesh/orchestration';
import { ConnectionTracker } from '@kmesh/tunnel';

let mesh: TestMesh;
let outside: Host;
let server: { pod: Pod; workload: Workload };

before(async () => {
  mesh = await startTestMesh({ nodes: 1 });
  outside = (await mesh.pod({ captured: false, name: 'outside' })).pod;
  server = await mesh.pod({ name: 'server' });
  mesh.own(await listen(server.pod, 8080, doubleEcho));
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});

function policy(
  action: Policy['action'],
  match: PolicyMatch,
  name = 'test',
): { kind: 'policy'; policy: Policy } {
  return {
    kind: 'policy',
    policy: { name, namespace: 'default', scope: 'Namespace', action, rules: [[[match]]], dryRun: false },
  };
}

const strict = policy('Deny', { notPrincipals: [{ kind: 'Presence' }] }, 'strict');
const families = ['v4', 'v6'] as const;

/** Asserts that a connection is refused: it ends at once without a byte. */
async function refused(from: Host, to: string, port: number): Promise<void> {
  assert.notEqual(await fate(from, to, port), 'open');
}

describe('inbound plaintext', () => {
  for (const family of families) {
    test(`PAS-01: an uncaptured client reaches a captured server, its IP is kept and no identity is logged (IP${family})`, async () => {
      mesh.clear();
      const listening = mesh.own(await listen(server.pod, 8081, doubleEcho));
      assert.equal(await hello(outside, server.pod.addresses[family], 8081), 'hello worldhello world');
      assert.deepEqual(listening.seen.peers, [outside.addresses[family]]);
      const { start, end } = await mesh.records.closed('destination');
      assert.equal(start.securityPolicy, 'unknown');
      assert.equal(start.sourceIdentity, undefined);
      assert.equal(end.flag, '-');
      assert.deepEqual([end.bytesFromClient, end.bytesFromServer], [11, 22]);
      listening.close();
    });
  }

  test('PAS-02, NEG-02, NEG-08, NEG-09: under STRICT a plaintext client is closed at once and no byte is delivered', async () => {
    mesh.clear();
    mesh.apply(strict);
    for (const family of families) {
      const listening = mesh.own(await listen(server.pod, 8082, doubleEcho));
      await refused(outside, server.pod.addresses[family], 8082);
      assert.deepEqual(listening.seen, { connections: 0, bytes: 0, peers: [] });
      listening.close();
    }
    const { end } = await mesh.records.closed('destination');
    assert.equal(end.flag, 'DENY');
    assert.match(end.error ?? '', /default\/strict/);
    // The address of a mesh pod as source gives no identity either.
    const trusted = await mesh.pod();
    await outside.run('ip', ['addr', 'add', `${trusted.pod.addresses.v4}/32`, 'dev', 'lo']);
    const spoofed = connect(outside, server.pod.addresses.v4, 8080, {
      bindAddress: trusted.pod.addresses.v4,
    }).catch(() => undefined);
    // The answer to the first precedes the answer to this one.
    await refused(outside, server.pod.addresses.v4, 8080);
    const socket = await Promise.race([spoofed, undefined]);
    if (socket !== undefined) assert.notEqual(await ending(socket), 'open');
    void spoofed.then((late) => late?.destroy());
    mesh.apply({ kind: 'removePolicy', key: 'default/strict' });
  });

  test('PAS-03, KME-12: ALLOW by source IP admits its client and no other', async () => {
    mesh.apply(policy('Allow', { sourceIps: [`${outside.addresses.v4}/32`, `${outside.addresses.v6}/128`] }));
    for (const family of families) {
      assert.equal(await hello(outside, server.pod.addresses[family], 8080), 'hello worldhello world');
    }
    mesh.apply(policy('Allow', { sourceIps: ['10.250.0.1/32'] }));
    await refused(outside, server.pod.addresses.v4, 8080);
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
  });

  test("PAS-04: the proxy's own ports are closed at once", async () => {
    for (const port of [15001, 15006]) await refused(outside, server.pod.addresses.v4, port);
    const socket = await connect(outside, server.pod.addresses.v4, 15008);
    socket.write('GET / HTTP/1.1\r\n\r\n');
    assert.notEqual(await ending(socket), 'open');
  });

  test('PAS-05: a closed application port closes the client, flag CONNECT', async () => {
    mesh.clear();
    await refused(outside, server.pod.addresses.v4, 8099);
    const { end } = await mesh.records.closed('destination');
    assert.equal(end.flag, 'CONNECT');
  });

  for (const captured of [false, true]) {
    test(`PAS-06: a half-close leaves the other direction open until its own end (${captured ? 'HBONE' : 'plaintext'})`, async () => {
      const client = captured ? (await mesh.pod()).pod : outside;
      const halfAnswered = Promise.withResolvers<void>();
      const first = mesh.own(
        await listen(server.pod, 8083, async (socket: Socket) => {
          const all = await readAll(socket);
          socket.write('got ');
          await halfAnswered.promise;
          socket.end(`${all.length}`);
        }),
      );
      const asking = await connect(client, server.pod.addresses.v4, 8083);
      asking.end('question');
      assert.equal((await readExactly(asking, 4)).toString(), 'got ');
      halfAnswered.resolve();
      assert.equal((await readAll(asking)).toString(), '8');
      first.close();
      const received = Promise.withResolvers<string>();
      const second = mesh.own(
        await listen(server.pod, 8084, (socket: Socket) => {
          socket.end('first');
          readAll(socket).then((all) => received.resolve(all.toString()), received.reject);
        }),
      );
      const listening = await connect(client, server.pod.addresses.v4, 8084);
      assert.equal((await readAll(listening)).toString(), 'first');
      listening.end('after the end of the server');
      assert.equal(await received.promise, 'after the end of the server');
      second.close();
    });

    test(`PAS-07, NEG-22: the first bytes of a server arrive (${captured ? 'HBONE' : 'plaintext'})`, async () => {
      const client = captured ? (await mesh.pod()).pod : outside;
      const listening = mesh.own(await listen(server.pod, 8085, (socket) => socket.write('220 ready\r\n')));
      const socket = await connect(client, server.pod.addresses.v6, 8085);
      assert.equal((await readExactly(socket, 11)).toString(), '220 ready\r\n');
      socket.destroy();
      listening.close();
    });
  }

  test('PAS-05, HBN-11: a reset of either application reaches the other as a reset', async () => {
    const accepted = Promise.withResolvers<Socket>();
    const listening = mesh.own(await listen(server.pod, 8086, accepted.resolve));
    for (const captured of [false, true]) {
      const client = captured ? (await mesh.pod()).pod : outside;
      const got = Promise.withResolvers<Socket>();
      listening.server.removeAllListeners('connection');
      listening.server.on('connection', (socket: Socket) => {
        socket.on('error', () => undefined);
        got.resolve(socket);
      });
      const socket = await connect(client, server.pod.addresses.v4, 8086);
      socket.write('x');
      const peer = await got.promise;
      peer.resetAndDestroy();
      assert.equal(await ending(socket), 'reset', captured ? 'HBONE' : 'plaintext');
    }
    listening.close();
  });

  test('PAS-05, HBN-11: a reset while bytes are in flight to the application is not treated as an end', async () => {
    const reset = (socket: Socket) => {
      socket.on('error', () => undefined);
      setImmediate(() => socket.resetAndDestroy());
    };
    const listening = mesh.own(await listen(server.pod, 8087, reset));
    const endings = new Map<string, number>();
    for (const client of [outside, (await mesh.pod()).pod]) {
      for (let round = 0; round < 400; round++) {
        const socket = await connect(client, server.pod.addresses.v4, 8087);
        socket.write('x');
        const timer = setInterval(() => socket.write('x'.repeat(1000)), 0);
        const kind = await ending(socket);
        clearInterval(timer);
        endings.set(kind, (endings.get(kind) ?? 0) + 1);
      }
    }
    assert.deepEqual([...endings], [['reset', 800]]);
    listening.close();
  });
});

describe('live policy changes', () => {
  /** An established connection of each kind: plaintext in, HBONE in, and from pod to pod. */
  async function established(port: number): Promise<{ sockets: Socket[]; close: () => void }> {
    const listening = mesh.own(await listen(server.pod, port, (socket) => socket.pipe(socket)));
    const meshed = await mesh.pod();
    const sockets = [
      await connect(outside, server.pod.addresses.v4, port),
      await connect(meshed.pod, server.pod.addresses.v4, port),
    ];
    for (const socket of sockets) {
      socket.write('hello');
      await readExactly(socket, 5);
    }
    return { sockets, close: () => listening.close() };
  }

  async function alive(socket: Socket): Promise<void> {
    socket.write('alive');
    assert.equal((await readExactly(socket, 5)).toString(), 'alive');
  }

  test('POL-01, POL-07, NEG-10: a DENY closes open connections at once, flag DENY, HBONE and plaintext', async () => {
    const { sockets, close } = await established(8100);
    mesh.clear();
    const began = performance.now();
    mesh.apply(policy('Deny', { destinationPorts: [8100] }));
    const ends = await Promise.all(sockets.map((socket) => ending(socket)));
    assert.deepEqual(ends, ['reset', 'reset']);
    assert.ok(performance.now() - began < 1_000);
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
    close();
  });

  test('POL-01: the access record names the policy and says that it was applied later', async () => {
    mesh.clear();
    const { close, sockets } = await established(8101);
    mesh.apply(policy('Deny', { destinationPorts: [8101] }));
    await Promise.all(sockets.map((socket) => ending(socket)));
    const late = await mesh.records.wait(() => {
      const found = mesh.records.connections.filter(
        ({ end, start }) => start.reporter === 'destination' && end?.flag === 'DENY',
      );
      return found.length === 2 ? found : undefined;
    });
    for (const { end } of late) assert.match(end?.error ?? '', /policy change.*default\/test/);
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
    close();
  });

  test('POL-02, POL-03, POL-06: changes that still allow a connection, and empty ones, leave it open', async () => {
    const { sockets, close } = await established(8102);
    mesh.apply(policy('Deny', { destinationPorts: [1] }));
    mesh.apply(policy('Allow', { destinationPorts: [8102] }));
    for (const socket of sockets) await alive(socket);
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
    for (const socket of sockets) await alive(socket);
    mesh.apply();
    for (const socket of sockets) await alive(socket);
    for (const socket of sockets) socket.destroy();
    close();
  });

  test('POL-04: a policy between registration and first evaluation is not missed', async () => {
    const state = new MeshState();
    state.apply([{ kind: 'workload', workload: server.workload }]);
    let denied = '';
    const tracker = new ConnectionTracker(state, () => undefined);
    state.subscribe((change) => tracker.changed(change));
    const connection = {
      identity: undefined,
      sourceIp: '10.0.0.1',
      destinationIp: '10.0.0.2',
      destinationPort: 80,
    };
    const tracked = { connection, workload: server.workload, deny: (reason: string) => (denied = reason) };
    assert.equal(tracker.admit(tracked).allowed, true);
    state.apply([policy('Deny', { destinationPorts: [80] })]);
    assert.match(denied, /default\/test/);
    assert.equal(tracker.admit({ ...tracked }).allowed, false);
  });

  test('POL-05: of two equal connections, the one that stays is still closed later', async () => {
    mesh.clear();
    const { sockets, close } = await established(8103);
    const again = await connect(outside, server.pod.addresses.v4, 8103);
    again.write('hello');
    await readExactly(again, 5);
    sockets[0]?.destroy();
    await mesh.records.closed('destination');
    mesh.apply(policy('Deny', { destinationPorts: [8103] }));
    assert.equal(await ending(again), 'reset');
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
    close();
  });

  test('POL-08: a selector policy that a label change adds closes the connection, HBONE and plaintext', async () => {
    mesh.apply({
      kind: 'policy',
      policy: {
        ...policy('Deny', { destinationPorts: [8104] }, 'selected').policy,
        scope: 'WorkloadSelector',
      },
    });
    const { sockets, close } = await established(8104);
    for (const socket of sockets) await alive(socket);
    mesh.apply({ ...server.workload, authorizationPolicies: ['default/selected'] });
    assert.deepEqual(await Promise.all(sockets.map((socket) => ending(socket))), ['reset', 'reset']);
    mesh.apply(server.workload, { kind: 'removePolicy', key: 'default/selected' });
    close();
  });
});

describe('policies', () => {
  const principal = (name: string): string => `cluster.local/ns/default/sa/${name}`;

  async function outcome(from: Host, port = 8080): Promise<'served' | 'refused'> {
    const socket = await connect(from, server.pod.addresses.v4, port).catch(() => undefined);
    if (socket === undefined) return 'refused';
    socket.write('hello world');
    const answer = await readExactly(socket, 22, 3_000).then(
      () => 'served' as const,
      () => 'refused' as const,
    );
    socket.destroy();
    return answer;
  }

  test('NEG-01: under mesh-wide STRICT an mTLS client is served', async () => {
    const { pod } = await mesh.pod();
    mesh.apply({ kind: 'policy', policy: { ...strict.policy, namespace: '', scope: 'Global' } });
    assert.equal(await outcome(pod), 'served');
    assert.equal(await outcome(outside), 'refused');
    mesh.apply({ kind: 'removePolicy', key: '/strict' });
  });

  test('NEG-03, NEG-05, IST-06: ALLOW by principal and by service account serve exactly their callers', async () => {
    const first = await mesh.pod({ name: 'caller-a' });
    const second = await mesh.pod({ name: 'caller-b' });
    for (const match of [
      { principals: [{ kind: 'Exact', value: principal('sa-caller-a') }] },
      { serviceAccounts: [{ namespace: 'default', serviceAccount: 'sa-caller-a' }] },
    ] as const) {
      mesh.apply(policy('Allow', match));
      assert.equal(await outcome(first.pod), 'served');
      assert.equal(await outcome(second.pod), 'refused');
      assert.equal(await outcome(outside), 'refused');
    }
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
  });

  test('NEG-04, IST-06, KME-14: DENY by namespace refuses its callers only', async () => {
    const inX = await mesh.pod({ namespace: 'x' });
    const inY = await mesh.pod({ namespace: 'y' });
    mesh.apply(policy('Deny', { namespaces: [{ kind: 'Exact', value: 'x' }] }));
    assert.equal(await outcome(inX.pod), 'refused');
    assert.equal(await outcome(inY.pod), 'served');
    assert.equal(await outcome(outside), 'served');
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
  });

  test('NEG-06: a policy on a workload leaves its outbound connections alone', async () => {
    mesh.apply(policy('Allow', { destinationPorts: [1] }));
    const target = mesh.own(await listen(outside, 9000, doubleEcho));
    assert.equal(await hello(server.pod, outside.addresses.v4, 9000), 'hello worldhello world');
    target.close();
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
  });

  test('NEG-07, NSP-15, KME-13: probes of the kubelet reach a pod with policies without the proxy', async () => {
    const node = mesh.proxy(0).node;
    await installProbeSource(node, [server.pod]);
    mesh.apply(strict, policy('Allow', { destinationPorts: [1] }));
    mesh.clear();
    await node.run('ip', ['route', 'replace', '169.254.7.127/32', 'dev', 'lo']).catch(() => undefined);
    assert.equal(await hello(node, server.pod.addresses.v4, 8080), 'hello worldhello world');
    assert.equal(mesh.records.connections.length, 0);
    mesh.apply(
      { kind: 'removePolicy', key: 'default/strict' },
      { kind: 'removePolicy', key: 'default/test' },
    );
  });

  test('NEG-11: after the last policy is removed traffic is allowed again', async () => {
    mesh.apply(policy('Allow', { destinationPorts: [1] }));
    assert.equal(await outcome(outside), 'refused');
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
    assert.equal(await outcome(outside), 'served');
  });

  test('NEG-12, NEG-13: the last element of large policies decides, and 600 policies are enforced', async () => {
    const { pod } = await mesh.pod({ name: 'wanted' });
    const never: PolicyMatch = {
      sourceIps: ['192.0.2.1/32', '192.0.2.2/32', '192.0.2.3/32', '192.0.2.4/32', '192.0.2.5/32'],
      destinationPorts: [1, 2, 3, 4, 5],
    };
    const last: PolicyMatch = {
      sourceIps: ['192.0.2.1/32', '192.0.2.2/32', '192.0.2.3/32', '192.0.2.4/32', '0.0.0.0/0'],
      destinationPorts: [1, 2, 3, 4, 8080],
      principals: [{ kind: 'Exact', value: principal('sa-wanted') }],
    };
    const clause = (deciding: boolean): PolicyMatch[] => [
      never,
      never,
      never,
      never,
      deciding ? last : never,
    ];
    const all: PolicyMatch = { destinationPorts: [8080] };
    for (let index = 0; index < 5; index++) {
      const rules = Array.from({ length: 5 }, (_, rule) => [
        [all],
        [all],
        [all],
        [all],
        clause(index === 4 && rule === 4),
      ]);
      mesh.apply({ kind: 'policy', policy: { ...policy('Allow', all, `large${index}`).policy, rules } });
    }
    assert.equal(await outcome(pod), 'served');
    assert.equal(await outcome(outside), 'refused');
    for (let index = 0; index < 600; index++) {
      mesh.apply(policy('Deny', index === 599 ? { destinationPorts: [8080] } : never, `many${index}`));
    }
    assert.equal(await outcome(pod), 'refused');
    mesh.apply(
      ...Array.from(
        { length: 600 },
        (_, index) => ({ kind: 'removePolicy', key: `default/many${index}` }) as const,
      ),
      ...Array.from(
        { length: 5 },
        (_, index) => ({ kind: 'removePolicy', key: `default/large${index}` }) as const,
      ),
    );
  });

  test('NEG-15: connections to special addresses do not change the enrolment of a pod', async () => {
    const { pod } = await mesh.pod();
    for (const [address, port] of [
      ['0.0.0.2', 929],
      ['0.0.0.1', 930],
      ['::2', 929],
      ['::2', 930],
    ] as const) {
      const socket = await connect(pod, address, port).catch(() => undefined);
      if (socket !== undefined) await ending(socket, 500);
      socket?.destroy();
    }
    mesh.clear();
    mesh.apply(strict);
    assert.equal(await outcome(pod), 'served', 'still in the mesh, with its identity');
    mesh.apply({ kind: 'removePolicy', key: 'default/strict' });
  });

  test('NEG-17, NEG-18: clients behind source NAT and on the host network are judged without an identity', async () => {
    const node = mesh.proxy(0).node;
    await node.run('nft', ['delete', 'table', 'inet', 'istio-ambient-nat']).catch(() => undefined);
    const far = await mesh.lab.outsideHost();
    assert.equal(await outcome(far), 'served');
    mesh.apply(strict);
    assert.equal(await outcome(far), 'refused', 'source preserved');
    await node.run('iptables', [
      '-t',
      'nat',
      '-A',
      'POSTROUTING',
      '-s',
      far.addresses.v4,
      '-j',
      'MASQUERADE',
    ]);
    assert.equal(await outcome(far), 'refused', 'source NAT');
    assert.equal(await outcome(node), 'refused', 'host network');
    mesh.apply({ kind: 'removePolicy', key: 'default/strict' });
    assert.equal(await outcome(node), 'served');
  });

  test('NEG-35: a reused pod IP has the identity of the certificate, not that of the old resource', async () => {
    // In the mesh state the address still belongs to sa-old; the pod that has it now is sa-new.
    const { pod: reused } = await mesh.pod({ captured: false, workload: { serviceAccount: 'sa-old' } });
    mesh.apply(policy('Allow', { principals: [{ kind: 'Exact', value: principal('sa-old') }] }));
    const impostor = mesh.authority.make('spiffe://cluster.local/ns/default/sa/sa-new');
    const socket = await connect(reused, server.pod.addresses.v4, 15008);
    using peer = await openHbone(socket, { identity: impostor });
    assert.equal((await peer.request(`${server.pod.addresses.v4}:8080`)).status, 401);
    mesh.apply({ kind: 'removePolicy', key: 'default/test' });
  });
});
