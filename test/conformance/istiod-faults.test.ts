import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type MeshUpdate, xds } from '@kmesh/api';
import { memoryLogger } from '@kmesh/api/testing';
import { CertificateClient, CertificateManager, createXdsClient, type XdsClient } from '@kmesh/controller';
import {
  type FakeIstiod,
  type FakeIstiodOptions,
  generatedWorkload,
  generateMesh,
  startFakeIstiod,
  startIstiodProcess,
} from '@kmesh/lab';
import { MeshState } from '@kmesh/orchestration';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

interface Node {
  readonly istiod: FakeIstiod;
  readonly client: XdsClient;
  readonly state: MeshState;
  readonly logger: ReturnType<typeof memoryLogger>;
  readonly synced: ReadonlySet<string>;
}

interface NodeOptions extends FakeIstiodOptions {
  readonly clientToken?: string;
  readonly startIstiodDown?: boolean;
  /** Default 200: short, so that a dead connection is detected soon. */
  readonly keepaliveMilliseconds?: number;
}

/** A fake istiod with a real xDS client on it that feeds a real mesh state. Timeouts are shortened. */
async function nodeOf(context: TestContext, options: NodeOptions = {}): Promise<Node> {
  const istiod = await startFakeIstiod(options);
  if (options.startIstiodDown === true) await istiod.faults.refuse(true);
  const state = new MeshState({ node: 'node-0' });
  const logger = memoryLogger();
  const synced = new Set<string>();
  const keepalive = options.keepaliveMilliseconds ?? 200;
  const client = createXdsClient(
    {
      controlPlane: {
        address: istiod.xdsAddress,
        rootCa: istiod.rootPem,
        token: options.clientToken ?? istiod.token,
        clusterId: 'Kubernetes',
        headers: {},
      },
      node: {
        instanceIp: '1.1.1.1',
        podName: 'z',
        podNamespace: 'istio-system',
        nodeName: 'node-0',
        metadata: {},
      },
      onDemand: false,
      logger,
      times: { connectTimeout: 300, keepaliveTime: keepalive, keepaliveTimeout: keepalive },
    },
    { apply: (updates) => void state.apply(updates), synced: (typeUrl) => void synced.add(typeUrl) },
  );
  context.after(async () => {
    await client.close();
    await istiod.close();
  });
  return { istiod, client, state, logger, synced };
}

const settleMilliseconds = 8000;

function added(index: number): MeshUpdate {
  return { kind: 'workload', workload: generatedWorkload(index, 1, 1) };
}

/** Pushes one workload and waits until the mesh state has it. */
async function assertAlive({ istiod, state }: Node, index: number): Promise<void> {
  const { uid } = generatedWorkload(index, 1, 1);
  istiod.update([added(index)]);
  await istiod.waitFor(
    `workload ${index} in the state`,
    () => state.workload(uid) !== undefined,
    settleMilliseconds,
  );
}

const disturbances: readonly {
  readonly title: string;
  readonly disturb: (node: Node) => Promise<void>;
}[] = [
  {
    title: 'connections are reset',
    disturb: async ({ istiod }) => istiod.faults.dropConnections(),
  },
  {
    title: 'it is unreachable for a while',
    disturb: async ({ istiod }) => {
      await istiod.faults.refuse(true);
      await sleep(400);
      await istiod.faults.refuse(false);
    },
  },
  {
    title: 'it restarts twenty times',
    disturb: async ({ istiod }) => {
      for (let round = 0; round < 20; round += 1) {
        await istiod.faults.refuse(true);
        await sleep(10);
        await istiod.faults.refuse(false);
        await sleep(20);
      }
    },
  },
  {
    title: 'new connections are answered with random bytes',
    disturb: async ({ istiod }) => {
      istiod.faults.garbageConnections(true);
      istiod.faults.dropConnections();
      await sleep(300);
      istiod.faults.garbageConnections(false);
    },
  },
  {
    title: 'it sends a message that is not a response',
    disturb: async ({ istiod }) => {
      const streams = istiod.connections.map((stream) => stream.id);
      istiod.faults.garbageMessage();
      await istiod.waitFor(
        'a new stream',
        () => istiod.connections.some((stream) => !streams.includes(stream.id)),
        settleMilliseconds,
      );
    },
  },
  {
    title: 'it closes in the middle of a message',
    disturb: async ({ istiod }) => {
      const before = istiod.acceptedConnections;
      istiod.faults.closeMidMessage(500_000);
      istiod.faults.bigPush(4);
      await istiod.waitFor('a reconnect', () => istiod.acceptedConnections > before, settleMilliseconds);
    },
  },
  {
    title: 'a connection goes half-open',
    disturb: async ({ istiod }) => {
      const before = istiod.acceptedConnections;
      istiod.faults.halfOpen(true);
      await istiod.waitFor(
        'the client to close the connection',
        () => istiod.acceptedConnections > before,
        5000,
      );
      istiod.faults.halfOpen(false);
    },
  },
  {
    title: 'it stalls',
    disturb: async ({ istiod }) => {
      istiod.faults.stall(true);
      await sleep(600);
      istiod.faults.stall(false);
    },
  },
  {
    title: 'it sends GOAWAY',
    disturb: async ({ istiod }) => istiod.faults.goaway(),
  },
  {
    title: 'it ends streams, cleanly and with every status',
    disturb: async ({ istiod }) => {
      for (let code = 0; code <= 16; code += 1) {
        istiod.faults.endStreams(code === 0 ? undefined : { code, details: 'disturbed' });
        await sleep(20);
      }
    },
  },
  {
    title: 'the token is refused for a while',
    disturb: async ({ istiod, client }) => {
      istiod.faults.rejectTokens(true);
      await istiod.waitFor('refusals', () => client.counters.terminations.Error > 1, settleMilliseconds);
      istiod.faults.rejectTokens(false);
    },
  },
];

for (const { title, disturb } of disturbances) {
  test(`XDS-21: the mesh is kept and updates resume after istiod misbehaves: ${title}`, async (context) => {
    const mesh = generateMesh({ workloads: 200, services: 10, policies: 5 });
    const node = await nodeOf(context, { mesh });
    const { istiod, state } = node;
    await istiod.waitForSettled(settleMilliseconds);
    const before = { ...state.counts };
    assert.deepEqual(before, { workloads: 200, services: 10, policies: 5 });
    let lowest = before.workloads;
    const watch = setInterval(() => {
      lowest = Math.min(lowest, state.counts.workloads);
    }, 5);
    await disturb(node);
    assert.ok(state.counts.services === 10 && state.counts.policies === 5);
    await assertAlive(node, 500);
    clearInterval(watch);
    assert.ok(lowest >= before.workloads, `the mesh state had only ${lowest} workloads meanwhile`);
    istiod.assertNoViolations();
  });
}

test('XDS-21: after an outage only what changed meanwhile is transferred, removals included', async (context) => {
  const mesh = generateMesh({ workloads: 300, services: 10 });
  const { istiod, state, client } = await nodeOf(context, { mesh });
  await istiod.waitForSettled(settleMilliseconds);
  const bytes = (): number => client.counters.messageBytes.get(xds.addressTypeUrl) ?? 0;
  const first = bytes();
  await istiod.faults.refuse(true);
  const gone = generatedWorkload(3, 10, 100).uid;
  istiod.update([{ kind: 'removeWorkload', uid: gone }, added(900)]);
  await istiod.waitFor('a failed attempt', () => client.status().nextTryAt !== undefined, settleMilliseconds);
  assert.ok(state.workload(gone) !== undefined, 'the last state is kept while istiod is away');
  await istiod.faults.refuse(false);
  await istiod.waitFor('the removal', () => state.workload(gone) === undefined, settleMilliseconds);
  assert.ok(state.workload(generatedWorkload(900, 1, 1).uid) !== undefined);
  assert.ok(bytes() - first < first / 50, `${bytes() - first} bytes after ${first}`);
});

test('NEG-31: with istiod unreachable at the start the client retries, logs the reason, and synchronises once it is reachable', async (context) => {
  const node = await nodeOf(context, { mesh: generateMesh({ workloads: 50 }), startIstiodDown: true });
  const { istiod, client, logger, synced } = node;
  await istiod.waitFor(
    'some tries',
    () => client.counters.terminations.ConnectionError >= 4,
    settleMilliseconds,
  );
  assert.equal(synced.size, 0, 'not ready');
  assert.ok(client.status().lastError !== undefined);
  const line = logger.lines.find((text) => text.includes('xDS connection failed')) ?? '';
  assert.match(line, /"cause":".+"/);
  assert.match(line, /"nextTryMs":\d+/);
  await istiod.faults.refuse(false);
  await istiod.waitFor('both types', () => synced.size === 2, 20_000);
  assert.equal(node.state.counts.workloads, 50);
});

test('a wrong token is one log line per attempt, with the time of the next one, and never a crash', async (context) => {
  const { istiod, client, logger, synced } = await nodeOf(context, { clientToken: 'stolen' });
  await istiod.waitFor('three attempts', () => client.counters.terminations.Error >= 3, settleMilliseconds);
  const lines = logger.lines.filter((text) => text.includes('xDS connection failed'));
  assert.ok(lines.length <= client.counters.terminations.Error);
  assert.ok(lines.every((line) => /"nextTryMs":\d+/.test(line) && !line.includes('stolen')));
  assert.equal(synced.size, 0);
});

test('of bad and good resources in a response the bad are named in the rejection, the good applied', async (context) => {
  const node = await nodeOf(context, { mesh: generateMesh({ workloads: 10 }) });
  const { istiod } = node;
  await istiod.waitForSettled(settleMilliseconds);
  const names = istiod.faults.badResources(3);
  await istiod.waitFor('a rejection', () => istiod.requests.some((request) => request.kind === 'nack'));
  const { error = '' } = istiod.requests.find((request) => request.kind === 'nack') ?? {};
  for (const name of names) assert.ok(error.includes(name), error);
  await assertAlive(node, 700);
});

test('a push of 150 MB is applied; memory returns to its earlier size, and the connection stays open', async (context) => {
  // The fake istiod encodes on this thread and answers no keepalive meanwhile.
  const node = await nodeOf(context, { mesh: generateMesh({ workloads: 100 }), keepaliveMilliseconds: 5000 });
  const { istiod, state } = node;
  await istiod.waitForSettled(settleMilliseconds);
  const before = process.memoryUsage();
  const names = istiod.faults.bigPush(150);
  await istiod.waitFor(
    'the big push',
    () => names.every((name) => state.workload(name) !== undefined),
    20_000,
  );
  await istiod.waitForSettled(settleMilliseconds);
  assert.equal(istiod.connections.length, 1);
  await assertAlive(node, 800);
  // The payload is not retained; wait until it is garbage-collected.
  const retained = (): number => {
    collectGarbage();
    const now = process.memoryUsage();
    return (now.heapUsed + now.external - before.heapUsed - before.external) / 2 ** 20;
  };
  await istiod.waitFor('memory to be released', () => retained() < 40, 5000);
});

test('a push beyond the receive limit ends the stream, not the client', async (context) => {
  const node = await nodeOf(context, { mesh: generateMesh({ workloads: 20 }) });
  const { istiod, client, state } = node;
  await istiod.waitForSettled(settleMilliseconds);
  istiod.faults.bigPush(201);
  const ended = (): number =>
    Object.values(client.counters.terminations).reduce((sum, count) => sum + count, 0);
  await istiod.waitFor('the end of the stream', () => ended() > 0, 20_000);
  assert.equal(state.counts.workloads, 20);
  await assertAlive(node, 810);
});

test('XDS-10: resources whose newest version was rejected are removed if they vanish while istiod is away', async (context) => {
  const policy: MeshUpdate = {
    kind: 'policy',
    policy: { name: 'p', namespace: 'ns', scope: 'Global', action: 'Allow', rules: [], dryRun: false },
  };
  const node = await nodeOf(context, { mesh: [added(1), added(2), policy] });
  const { istiod, state } = node;
  await istiod.waitForSettled(settleMilliseconds);
  const { uid } = generatedWorkload(1, 1, 1);
  const undecodable = (name: string) => {
    const payload = Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f]);
    return { name, version: 'bad', payload, aliases: [], node: undefined, services: [] };
  };
  istiod.faults.pushRaw(xds.addressTypeUrl, [undecodable(uid)]);
  istiod.faults.pushRaw(xds.authorizationTypeUrl, [undecodable('ns/p')]);
  const rejections = (): number => istiod.requests.filter(({ kind }) => kind === 'nack').length;
  await istiod.waitFor('both rejections', () => rejections() === 2, settleMilliseconds);
  assert.ok(state.workload(uid) && state.policy('ns/p'), 'the old versions stay');
  await istiod.faults.refuse(true);
  istiod.update([
    { kind: 'removeWorkload', uid },
    { kind: 'removePolicy', key: 'ns/p' },
  ]);
  await istiod.faults.refuse(false);
  await assertAlive(node, 3);
  await istiod.waitForSettled(settleMilliseconds);
  assert.equal(state.workload(uid), undefined);
  assert.equal(state.policy('ns/p'), undefined);
  assert.ok(state.workload(generatedWorkload(2, 1, 1).uid));
});

test('a slowly sent push delays nothing else', async (context) => {
  const node = await nodeOf(context, { mesh: generateMesh({ workloads: 500 }), keepaliveMilliseconds: 5000 });
  const { istiod, state } = node;
  await istiod.waitForSettled(settleMilliseconds);
  istiod.faults.slowDrip(60_000);
  istiod.update(Array.from({ length: 200 }, (_, index) => added(2000 + index)));
  const begun = performance.now();
  let changed: number | undefined;
  const isThere = (): boolean => {
    if (state.counts.workloads > 500) changed ??= performance.now();
    return state.counts.workloads === 700;
  };
  await istiod.waitFor('the slow push', isThere, settleMilliseconds);
  const [before, whole] = [(changed ?? begun) - begun, performance.now() - begun];
  assert.ok(whole > 500, `it took ${whole} ms`);
  assert.ok(before > whole / 2, `half a message changes nothing: ${before} ms of ${whole}`);
  istiod.faults.slowDrip(0);
  await assertAlive(node, 3000);
});

test('ROB-02: a first push of 10,000 workloads is applied in slices, between which the event loop runs', async (context) => {
  const istiod = await startIstiodProcess({ arguments: ['--generate', '10000', '--services', '500'] });
  const state = new MeshState({ node: 'node-0' });
  const slices: { readonly updates: number; readonly turn: number }[] = [];
  let turn = 0;
  let turning = true;
  const nextTurn = (): void => {
    turn += 1;
    if (turning) setImmediate(nextTurn);
  };
  nextTurn();
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  const begun = performance.now();
  const { promise: ready, resolve } = Promise.withResolvers<void>();
  const client = createXdsClient(
    {
      controlPlane: {
        address: istiod.xdsAddress,
        rootCa: istiod.rootPem,
        token: istiod.token,
        clusterId: 'Kubernetes',
        headers: {},
      },
      node: {
        instanceIp: '1.1.1.1',
        podName: 'z',
        podNamespace: 'istio-system',
        nodeName: 'node-0',
        metadata: {},
      },
      onDemand: false,
      logger: memoryLogger(),
    },
    {
      apply: (updates) => {
        slices.push({ updates: updates.length, turn });
        state.apply(updates);
      },
      synced: (typeUrl) => {
        if (typeUrl === xds.authorizationTypeUrl) resolve();
      },
    },
  );
  await ready;
  const elapsed = performance.now() - begun;
  delay.disable();
  turning = false;
  const { violations } = await istiod.command({ command: 'status' });
  await client.close();
  await istiod.close();
  assert.deepEqual(violations, []);
  assert.deepEqual({ ...state.counts }, { workloads: 10_000, services: 500, policies: 0 });
  assert.ok(slices.every((slice) => slice.updates <= 1000));
  assert.ok(new Set(slices.map((slice) => slice.turn)).size > 5, 'the loop turned between slices');
  const megabytes = Math.round(process.memoryUsage().rss / 2 ** 20);
  context.diagnostic(
    `ready after ${Math.round(elapsed)} ms, longest stall ${(delay.max / 1e6).toFixed(1)} ms, ${megabytes} MiB`,
  );
});

test('ROB-03: a churn of one per cent per second is applied without delay', async (context) => {
  const node = await nodeOf(context, { mesh: generateMesh({ workloads: 2000, services: 100 }) });
  const { istiod, state } = node;
  await istiod.waitForSettled(settleMilliseconds);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  for (let second = 0; second < 10; second += 1) {
    const updates = Array.from({ length: 20 }, (_, index): MeshUpdate => {
      const workload = generatedWorkload(second * 20 + index, 100, 100);
      return { kind: 'workload', workload: { ...workload, status: 'Unhealthy' } };
    });
    istiod.update(updates);
    await sleep(50);
  }
  delay.disable();
  await istiod.waitForSettled(settleMilliseconds);
  const changed = [...state.workloads()].filter((workload) => workload.status === 'Unhealthy').length;
  assert.equal(changed, 200);
  context.diagnostic(`longest stall ${(delay.max / 1e6).toFixed(1)} ms, fake istiod included`);
});

test('XDS-21: certificates stay in use during an outage of the authority and are renewed after it', async (context) => {
  const istiod = await startFakeIstiod({ certificates: { lifetimeSeconds: 4 } });
  context.after(() => istiod.close());
  const client = new CertificateClient({
    controlPlane: {
      address: istiod.caAddress,
      rootCa: istiod.rootPem,
      token: istiod.token,
      clusterId: 'Kubernetes',
      headers: {},
    },
    lifetimeSeconds: 60,
    impersonate: true,
    logger: memoryLogger(),
    callMilliseconds: 3_000,
  });
  const manager = new CertificateManager({
    source: client.source,
    logger: memoryLogger(),
    backoff: { firstMilliseconds: 50, maximumMilliseconds: 200, jitter: 0 },
  });
  context.after(() => {
    manager.close();
    client.close();
  });
  const identity = { trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'web' };
  const first = await manager.certificate(identity, 'RealTime');
  await istiod.faults.refuse(true);
  while (Date.now() < first.notBefore + 2300) {
    assert.equal(await manager.certificate(identity, 'RealTime'), first, 'in use after its half-life');
    await sleep(50);
  }
  await istiod.faults.refuse(false);
  await istiod.waitFor('a renewal', () => (manager.current(identity)?.version ?? 0) > first.version, 8000);
  istiod.assertNoViolations();
});
