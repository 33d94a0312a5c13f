import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { zdsProto } from '@kmesh/api';
import { eventually } from '@kmesh/api/testing';
import { ZdsClient, type ZdsCounts } from '@kmesh/controller';
import { type FakeCniAgent, type Pod, startFakeCniAgent } from '@kmesh/lab';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import { connect, doubleEcho, hello, listen, until } from '@kmesh/lab/testing/tunnel/traffic.ts';
import { createNetworkNamespace, openListener, openNetworkNamespace } from '@kmesh/linux';

let mesh: TestMesh;
let agent: FakeCniAgent;
let client: ZdsClient;
let ready: boolean[];
let counts: ZdsCounts;
let fatal: Error[];
/** Number of attempts to start a pod. */
let tries = 0;

before(async () => {
  mesh = await startTestMesh({ nodes: 1 });
});
after(async () => {
  await mesh[Symbol.asyncDispose]();
});
beforeEach(() => {
  agent = startFakeCniAgent(mesh.lab, { redirect: false });
  client = newClient(agent.path);
});
afterEach(async () => {
  client.close();
  await agent.close();
  for (const uid of started) mesh.proxy(0).tunnel.removePod(uid);
  started.clear();
});

const started = new Set<string>();

function newClient(path: string, retryMilliseconds = 300, firstAskMilliseconds = 60_000): ZdsClient {
  ready = [];
  fatal = [];
  counts = { active: 0, pending: 0, started: 0, stopped: 0 };
  const { tunnel, logger } = mesh.proxy(0);
  return new ZdsClient({
    path,
    logger,
    retryMilliseconds,
    firstAskMilliseconds,
    maximumBackoffMilliseconds: 200,
    pods: {
      servesIn: (uid, namespace) => tunnel.servesIn(uid, namespace),
      addPod: (uid, info, namespace) => {
        tries += 1;
        tunnel.addPod(uid, info, namespace);
        started.add(uid);
      },
      removePod: (uid) => tunnel.removePod(uid),
    },
    onReady: (now) => ready.push(now),
    onProtocolError: (error) => fatal.push(error),
    onCounts: (now) => {
      counts = now;
    },
  });
}

/** Creates a pod with a workload; ZDS starts its proxy. */
async function pod(): Promise<Pod> {
  const { pod: made } = await mesh.pod({ captured: false });
  return made;
}

/** Returns whether a socket listens on 15008 of the pod. */
async function served(which: Pod): Promise<boolean> {
  const socket = await connect(which, which.addresses.v4, 15008).catch(() => undefined);
  socket?.destroy();
  return socket !== undefined;
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;

/** Closes reach the data threads a moment later. */
async function untilDescriptors(most: number): Promise<void> {
  await eventually(`at most ${most} descriptors, ${descriptors()} now`, () => descriptors() <= most);
}

describe('ZDS', () => {
  test('ZDS-01: the wire bytes', () => {
    const { ZdsHello, WorkloadResponse, WorkloadRequest, Version } = zdsProto;
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    assert.equal(hex(ZdsHello.encode({ version: Version.V1 })), '0801');
    assert.equal(hex(WorkloadResponse.encode({ ack: { error: '' } })), '0a00');
    assert.equal(hex(WorkloadResponse.encode({ ack: { error: 'no' } })), '0a040a026e6f');
    const decode = (text: string) => WorkloadRequest.decode(Buffer.from(text, 'hex'));
    assert.equal(decode('12031201' + '75').del?.uid, 'u');
    assert.equal(decode('2a030a0175').keep?.uid, 'u');
    assert.ok(decode('1a00').snapshotSent);
    const add = decode('0a0e0a017512090a016e1201731a0161').add;
    assert.deepEqual([add?.uid, add?.workloadInfo?.name, add?.workloadInfo?.namespace], ['u', 'n', 's']);
  });

  test('ZDS-02, ZDS-03: an add starts a proxy and is acknowledged; repeating it changes nothing', async () => {
    client.start();
    await agent.whenReady();
    const one = await pod();
    assert.equal(await agent.addPod(one), '');
    assert.equal(counts.active, 1);
    assert.ok(await served(one));
    assert.equal(await agent.sendAdd(one), '');
    assert.deepEqual([counts.active, counts.started], [1, 1]);
  });

  test('ZDS-04: the same uid in another namespace replaces the proxy', async () => {
    client.start();
    await agent.whenReady();
    const [one, other] = [await pod(), await pod()];
    await agent.addPod(one);
    assert.equal(await agent.sendAdd(one, other), '');
    assert.ok(await served(other));
    await until(() => counts.stopped === 1);
    await eventually('it is no longer served', async () => !(await served(one)));
  });

  test('ZDS-05: add, del, add leaves exactly one proxy', async () => {
    client.start();
    const connection = await agent.whenReady();
    const one = await pod();
    await agent.addPod(one);
    assert.equal(await connection.request({ del: { uid: one.uid } }), '');
    assert.equal(await agent.sendAdd(one), '');
    assert.equal(client.active, 1);
    // A connection may still meet a listener of the first proxy, which closes on its data thread a moment later.
    await eventually('the second proxy serves', () => served(one));
    assert.equal(await connection.request({ del: { uid: 'unknown' } }), '');
  });

  test('ZDS-06: an add without workload info is answered with an error and ends the process', async () => {
    client.start();
    await agent.whenReady();
    agent.faults.omitWorkloadInfo = true;
    assert.match(await agent.sendAdd(await pod()), /workload_info/);
    await until(() => fatal.length === 1);
  });

  test('ZDS-07, ZDS-08: ports in use are an error, the pod is pending and retried; a del removes it', async () => {
    client.start();
    await agent.whenReady();
    const one = await pod();
    using namespace = openNetworkNamespace(one.namespacePath);
    const occupied = openListener({ namespace, address: '::', port: 15006 });
    assert.match(await agent.addPod(one), /15006/);
    await agent.sendAdd(one);
    assert.deepEqual([client.pending, client.ready, counts.pending], [1, false, 1]);
    const two = await pod();
    using second = openNetworkNamespace(two.namespacePath);
    const alsoOccupied = openListener({ namespace: second, address: '::', port: 15001 });
    assert.match(await agent.addPod(two), /15001/);
    assert.equal(client.pending, 2);
    await agent.sendDelete(two);
    assert.equal(client.pending, 1);
    closeSync(occupied);
    closeSync(alsoOccupied);
    await until(() => client.ready);
    assert.ok(await served(one));
  });

  test('a second pod with the namespace of another is an error that names both, and is served once the other is removed', async () => {
    client.start();
    await agent.whenReady();
    const [one, two] = [await pod(), await pod()];
    await agent.addPod(one);
    const answer = await agent.sendAdd(two, one);
    assert.ok(answer.includes(two.uid) && answer.includes(one.uid), answer);
    assert.deepEqual([counts.active, counts.pending, agent.connections.length], [1, 1, 1]);
    assert.ok(await served(one));
    await agent.sendDelete(one);
    await until(() => counts.active === 1 && counts.pending === 0);
    assert.ok(await served(one));
    await agent.sendDelete(two);
    assert.deepEqual([counts.active, counts.pending], [0, 0]);
  });

  test('ZDS-09, ZDS-10, ZDS-12: a snapshot stops what it does not name and leaves what it keeps', async () => {
    client.start();
    const first = await agent.whenReady();
    const [gone, kept, deleted] = [await pod(), await pod(), await pod()];
    for (const one of [gone, kept, deleted]) await agent.addPod(one);
    agent.keepOnly(kept);
    agent.keepOnly(deleted);
    // The test writes the messages of the next connection, to send a del before the snapshot.
    agent.faults.silent = true;
    first.close();
    await until(() => ready.includes(false));
    await until(() => agent.connections.length === 2);
    const second = agent.connections[1];
    assert.ok(second);
    assert.equal(await second.request({ keep: { uid: kept.uid } }), '');
    assert.equal(client.active, 3, 'nothing stops before the snapshot');
    assert.equal(await second.request({ keep: { uid: deleted.uid } }), '');
    assert.equal(await second.request({ del: { uid: deleted.uid } }), '');
    assert.equal(client.active, 3);
    assert.equal(await second.request({ snapshotSent: {} }), '');
    assert.equal(client.active, 1);
    assert.ok(client.ready);
    assert.ok(await served(kept));
  });

  test('ZDS-11: keep after the snapshot and a second snapshot are answered with an error and end the process', async () => {
    client.start();
    const connection = await agent.whenReady();
    assert.match(await connection.request({ keep: { uid: 'x' } }), /keep/);
    assert.match(await connection.request({ snapshotSent: {} }), /snapshot/);
    await until(() => fatal.length === 2);
  });

  test('ZDS-13, ZDS-18: an absent socket and a server that closes at once are retried with back-off', async () => {
    const { logger } = mesh.proxy(0);
    agent.faults.closeAfterAccept = true;
    client.start();
    await until(() => logger.lines.filter((line) => line.includes('connection lost')).length >= 3);
    assert.equal(client.ready, false);
    agent.stopListening();
    await until(() => logger.lines.some((line) => line.includes(agent.path) && line.includes('istio-cni')));
    agent.faults.closeAfterAccept = false;
    agent.listen();
    await agent.whenReady();
    await until(() => client.ready);
  });

  test('ZDS-14: after a lost connection it is not ready, proxies continue to serve, and a snapshot makes it ready again', async () => {
    client.start();
    const first = await agent.whenReady();
    const one = await pod();
    await agent.addPod(one);
    mesh.own(await listen(one, 8080, doubleEcho));
    const caller = await mesh.pod();
    await until(() => client.ready);
    first.close();
    await until(() => ready.includes(false));
    assert.equal(await hello(caller.pod, one.addresses.v4, 8080), 'hello worldhello world');
    await until(() => client.ready);
    assert.deepEqual(ready, [true, false, true]);
    assert.equal(counts.started, 1, 'the proxy was not changed');
  });

  test('ZDS-15: a wrong number of descriptors is a read failure, and none is leaked', async () => {
    client.start();
    await agent.whenReady();
    const one = await pod();
    const before = descriptors();
    for (const count of [0, 2] as const) {
      agent.faults.descriptorsPerAdd = count;
      const connection = agent.ready.at(-1);
      assert.match(await agent.sendAdd(one), /descriptors/);
      await connection?.closed;
      agent.faults.descriptorsPerAdd = 1;
      await until(() => client.ready);
      await until(() => agent.ready.length === 1);
    }
    const connection = agent.ready.at(-1);
    const fd = openSync('/dev/null', 'r');
    assert.match((await connection?.request({ del: { uid: one.uid } }, [fd])) ?? '', /descriptors/);
    closeSync(fd);
    await connection?.closed;
    await until(() => client.ready);
    await untilDescriptors(before + 1);
  });

  test('ZDS-16: a packet of 1025 bytes and one that is no message are read failures', async () => {
    client.start();
    for (const bytes of [new Uint8Array(1025), Buffer.from('ffffffff', 'hex'), Buffer.from('2200', 'hex')]) {
      const connection = await agent.whenReady();
      assert.notEqual(await connection.requestBytes(bytes), '');
      await connection.closed;
      await until(() => client.ready);
      await until(() => agent.ready.length === 1);
    }
  });

  test('ZDS-17: an idle client sends nothing', async () => {
    // The retry of a pending pod is the only timer of the client.
    client = newClient(agent.path, 20);
    client.start();
    const connection = await agent.whenReady();
    const [well, occupied] = [await pod(), await pod()];
    await agent.addPod(well);
    using namespace = openNetworkNamespace(occupied.namespacePath);
    const taken = openListener({ namespace, address: '::', port: 15006 });
    assert.match(await agent.addPod(occupied), /15006/);
    const first = tries;
    await until(() => tries >= first + 10);
    assert.deepEqual([client.active, client.pending], [1, 1]);
    // Packets are ordered: an earlier unsolicited packet would have been read instead of this answer.
    assert.equal(await agent.sendAdd(well), '');
    assert.equal(connection.reason, undefined);
    assert.equal(agent.connections.length, 1);
    closeSync(taken);
  });

  test('ZDS-18: waits between tries double from 10 ms to 15 s and stay there', async (context) => {
    const waits: number[] = [];
    const absent = new ZdsClient({
      path: `${agent.path}.absent`,
      logger: mesh.proxy(0).logger,
      pods: mesh.proxy(0).tunnel,
      onReady: () => assert.fail('there is nothing to be ready with'),
      onProtocolError: () => assert.fail('no peer can violate the protocol'),
    });
    const { promise: enough, resolve } = Promise.withResolvers<void>();
    context.mock.method(globalThis, 'setTimeout', (run: () => void, wait: number) => {
      waits.push(wait);
      if (waits.length === 20) resolve();
      else queueMicrotask(run);
    });
    absent.start();
    await enough;
    context.mock.restoreAll();
    absent.close();
    assert.ok(waits.every((wait) => wait <= 15_000));
    for (const [index, wait] of waits.entries()) {
      assert.ok(wait >= Math.min(15_000, 10 * 2 ** index) * 0.8, `${wait} ms in try ${index}`);
    }
  });

  test('ZDS-21: 500 pods in one snapshot, one answer each within 5 s; all stopped, no descriptor is left', {
    timeout: 60_000,
  }, async (context) => {
    agent.faults.silent = true;
    client.start();
    await until(() => agent.connections.length === 1);
    const [connection] = agent.connections;
    assert.ok(connection);
    const before = descriptors();
    const uids = Array.from({ length: 500 }, (_, index) => `many-${index}`);
    const begun = performance.now();
    await Promise.all(
      uids.map(async (uid) => {
        using namespace = createNetworkNamespace();
        const workloadInfo = { name: uid, namespace: 'default', serviceAccount: 'default' };
        const fd = openSync(namespace.path, 'r');
        assert.equal(await connection.request({ add: { uid, workloadInfo } }, [fd]), '');
        closeSync(fd);
      }),
    );
    assert.equal(await connection.request({ snapshotSent: {} }), '');
    const took = performance.now() - begun;
    assert.ok(client.ready);
    assert.equal(client.active, 500);
    assert.equal(connection.exchanges.length, 501);
    const slowest = Math.max(...connection.exchanges.map(({ tookMs = Number.POSITIVE_INFINITY }) => tookMs));
    assert.ok(slowest < 5_000);
    context.diagnostic(`500 pods in ${Math.round(took)} ms, slowest answer ${slowest.toFixed(1)} ms`);
    for (const uid of uids) await connection.request({ del: { uid } });
    assert.deepEqual([client.active, client.ready], [0, true]);
    await untilDescriptors(before + 2);
  });

  test('ZDS-22: a pod whose namespace was deleted while its descriptor is held stops cleanly', async () => {
    client.start();
    await agent.whenReady();
    const one = await pod();
    const before = descriptors();
    await agent.addPod(one);
    mesh.proxy(0).node.removePod(one);
    // An exchange with the agent is ordered after any message that the client would have sent.
    const other = await pod();
    assert.equal(await agent.addPod(other), '');
    assert.deepEqual(await agent.sendDelete(other), ['']);
    assert.deepEqual([client.active, client.ready], [1, true], 'nothing happens before the del');
    assert.deepEqual(await agent.sendDelete(one), ['']);
    assert.deepEqual([client.active, client.ready], [0, true]);
    await untilDescriptors(before);
  });

  test('a pod whose descriptor is not a namespace is named in the answer; all others of the snapshot are served', async () => {
    const pods = [await pod(), await pod(), await pod()];
    const [sick] = pods;
    assert.ok(sick);
    for (const place of [0, 1, 2]) {
      for (const one of pods) await agent.sendDelete(one);
      const order = [...pods.slice(1)];
      order.splice(place, 0, sick);
      for (const one of order) await agent.addPod(one);
      agent.sendDescriptorOf(sick, '/etc/hostname');
      client = newClient(agent.path);
      const known = agent.connections.length;
      client.start();
      await until(() => client.ready && agent.ready.length === 1);
      assert.deepEqual(
        [client.active, client.pending, counts.pending],
        [2, 1, 1],
        `sick pod in place ${place}`,
      );
      assert.deepEqual(
        client.pendingPods().map(({ uid }) => uid),
        [sick.uid],
      );
      const [connection] = agent.connections.slice(known);
      const answers = connection?.exchanges
        .map(({ answer }) => answer ?? 'none')
        .filter((text) => text !== '');
      assert.equal(answers?.length, 1);
      assert.match(answers?.[0] ?? '', new RegExp(`${sick.name}.*${sick.uid}.*not a network namespace`));
      for (const one of pods.slice(1)) assert.ok(await served(one));
      // Later pods arrive on the same connection, and the failed one is served once its descriptor is valid.
      agent.sendDescriptorOf(sick, undefined);
      assert.equal(await agent.sendAdd(sick), '');
      assert.deepEqual([client.active, client.pending], [3, 0]);
      assert.equal(agent.connections.length, known + 1, 'the connection stayed');
      // A wrong descriptor does not stop a running pod.
      agent.sendDescriptorOf(sick, '/etc/hostname');
      assert.match(await agent.sendAdd(sick), /not a network namespace/);
      assert.ok(await served(sick));
      agent.sendDescriptorOf(sick, undefined);
      client.close();
      await until(() => agent.ready.length === 0);
      for (const uid of started) mesh.proxy(0).tunnel.removePod(uid);
      started.clear();
    }
  });

  test('a pod whose descriptor is not a namespace is requested again with growing waits, and readiness is kept', async () => {
    const [sick, well] = [await pod(), await pod()];
    await agent.addPod(sick);
    await agent.addPod(well);
    agent.sendDescriptorOf(sick, '/etc/hostname');
    client = newClient(agent.path, 300, 100);
    const known = agent.connections.length;
    client.start();
    await until(() => client.ready);
    const asked: number[] = [];
    await until(() => {
      if (agent.connections.length > known + asked.length) asked.push(performance.now());
      return asked.length === 4;
    }, 20_000);
    const waits = asked.slice(1).map((time, index) => time - (asked[index] ?? 0));
    assert.ok((waits[2] ?? 0) > 250, `waits of ${waits.map(Math.round).join(', ')} ms`);
    await until(() => agent.ready.length === 1);
    assert.deepEqual([client.active, client.pending], [1, 1]);
    assert.ok(await served(well));
    agent.sendDescriptorOf(sick, undefined);
    await until(() => client.active === 2 && client.pending === 0, 20_000);
    assert.ok(await served(sick));
    assert.deepEqual(ready, [true], 'ready from the first snapshot on');
  });

  test('a connection that fails half-way through its snapshot every time is dialled with growing waits', async () => {
    const one = await pod();
    await agent.addPod(one);
    agent.faults.descriptorsPerAdd = 0;
    const { logger, tunnel } = mesh.proxy(0);
    const dials: number[] = [];
    const wrong: Error[] = [];
    const impatient = new ZdsClient({
      path: agent.path,
      logger,
      pods: tunnel,
      onReady: () => undefined,
      onProtocolError: (error) => wrong.push(error),
      firstBackoffMilliseconds: 100,
    });
    impatient.start();
    await until(() => {
      if (agent.connections.length > dials.length) dials.push(performance.now());
      return dials.length === 5;
    }, 20_000);
    impatient.close();
    assert.deepEqual(wrong, []);
    const waits = dials.slice(1).map((time, index) => time - (dials[index] ?? 0));
    assert.ok((waits[3] ?? 0) > 400, `waits of ${waits.map(Math.round).join(', ')} ms`);
  });

  test('ZDS-23: no hello before the client is started, which the daemon does after the first sync', async () => {
    const other = newClient(agent.path);
    other.start();
    await agent.whenReady();
    assert.equal(agent.connections.length, 1, 'that of the client that was started');
    other.close();
    await until(() => agent.ready.length === 0);
    client.start();
    await agent.whenReady();
    await until(() => client.ready);
  });
});
