import assert from 'node:assert/strict';
import { closeSync, fstatSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { zdsProto } from '@kmesh/api';
import { connectSeqpacket, type SeqpacketSocket } from '@kmesh/linux';
import { startFakeCniAgent } from '../src/cni/fake-cni-agent.ts';
import { createLab } from '../src/network/lab.ts';

interface Received {
  readonly request: zdsProto.WorkloadRequest;
  readonly namespaces: readonly bigint[];
}

const HELLO = zdsProto.ZdsHello.encode({ version: zdsProto.Version.V1 });
const ACK = zdsProto.WorkloadResponse.encode({ ack: {} });

/** The smallest proxy that follows the protocol; `answer` may violate it. */
function connectProxy(
  path: string,
  answer: (socket: SeqpacketSocket, received: Received) => void = acknowledge,
) {
  const received: Received[] = [];
  const socket = connectSeqpacket(path);
  socket.on('message', ({ bytes, descriptors }) => {
    const namespaces = descriptors.map((fd) => fstatSync(fd, { bigint: true }).ino);
    for (const fd of descriptors) closeSync(fd);
    const one = { request: zdsProto.WorkloadRequest.decode(bytes), namespaces };
    received.push(one);
    answer(socket, one);
  });
  const hello = () => socket.send(HELLO);
  return { socket, received, hello };
}

function acknowledge(socket: SeqpacketSocket): void {
  void socket.send(ACK);
}

test('a proxy gets a snapshot with one namespace for each pod, then what is added and removed', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const [first, second, third] = [
    await node.pod({ name: 'first', namespace: 'shop', serviceAccount: 'seller' }),
    await node.pod({ name: 'second' }),
    await node.pod({ name: 'third' }),
  ];
  await using agent = startFakeCniAgent(lab, { redirect: false });
  assert.equal(await agent.addPod(first), 'pending');
  assert.equal(await agent.addPod(second), 'pending');
  agent.keepOnly(second);

  const proxy = connectProxy(agent.path);
  await proxy.hello();
  const connection = await agent.whenReady();
  assert.equal(await agent.addPod(third), '');
  assert.deepEqual(await agent.removePod(first), ['']);
  const kinds = proxy.received.map(({ request }) => Object.keys(request)[0]);
  assert.deepEqual(kinds, ['add', 'keep', 'snapshotSent', 'add', 'del']);
  assert.deepEqual(proxy.received[0]?.namespaces, [statSync(first.namespacePath, { bigint: true }).ino]);
  assert.equal(proxy.received[0]?.request.add?.workloadInfo?.serviceAccount, 'seller');
  assert.deepEqual(proxy.received[1]?.namespaces, []);
  assert.deepEqual(
    connection.exchanges.map((exchange) => exchange.answer),
    ['', '', '', '', ''],
  );
  proxy.socket.close();
  assert.equal(await connection.closed, 'peer closed');
});

test('an error in an answer is reported, and the newest of two proxies gets the request', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const pod = await node.pod({ name: 'pod' });
  await using agent = startFakeCniAgent(lab, { redirect: false });
  const old = connectProxy(agent.path);
  await old.hello();
  await agent.whenReady();
  const refusing = connectProxy(agent.path, (socket, { request }) => {
    const error = request.add === undefined || request.add === null ? '' : 'ports are taken';
    void socket.send(zdsProto.WorkloadResponse.encode({ ack: { error } }));
  });
  await refusing.hello();
  await agent.whenReady(2);
  assert.equal(await agent.addPod(pod), 'ports are taken');
  assert.deepEqual(await agent.removePod(pod), ['', '']);
  assert.deepEqual(
    old.received.map(({ request }) => Object.keys(request)[0]),
    ['snapshotSent', 'del'],
  );
  old.socket.close();
  refusing.socket.close();
});

test('a proxy that sends a message without a request is disconnected', async () => {
  await using lab = await createLab();
  await using agent = startFakeCniAgent(lab);
  const proxy = connectProxy(agent.path);
  await proxy.hello();
  const connection = await agent.whenReady();
  await proxy.socket.send(ACK);
  assert.equal(await connection.closed, 'unsolicited data');
});

test('a proxy that answers twice, or with a hello of another version, is disconnected', async () => {
  await using lab = await createLab();
  await using agent = startFakeCniAgent(lab);
  const twice = connectProxy(agent.path, (socket) => {
    void socket.send(ACK);
    void socket.send(ACK);
  });
  await twice.hello();
  const connection = await agent.whenReady();
  assert.equal(await connection.closed, 'unsolicited data');
  const odd = connectProxy(agent.path);
  const ended = new Promise<void>((resolve) => odd.socket.once('close', resolve));
  await odd.socket.send(Uint8Array.of(0x08, 7));
  await ended;
  assert.match(agent.connections.at(-1)?.reason ?? '', /hello of version/);
});

test('configured faults reach the proxy', async () => {
  await using lab = await createLab();
  const node = await lab.node();
  const [pod, other] = [await node.pod({ name: 'pod' }), await node.pod({ name: 'other' })];
  await using agent = startFakeCniAgent(lab, { redirect: false });
  const proxy = connectProxy(agent.path);
  await proxy.hello();
  const connection = await agent.whenReady();
  for (const count of [0, 2] as const) {
    agent.faults.descriptorsPerAdd = count;
    await agent.sendAdd(pod);
    assert.equal(proxy.received.at(-1)?.namespaces.length, count);
  }
  agent.faults.descriptorsPerAdd = 1;
  await agent.sendAdd(pod, other);
  assert.deepEqual(proxy.received.at(-1)?.namespaces, [statSync(other.namespacePath, { bigint: true }).ino]);
  agent.faults.omitWorkloadInfo = true;
  await agent.sendAdd(pod);
  assert.equal(proxy.received.at(-1)?.request.add?.workloadInfo ?? undefined, undefined);
  await connection.request({ keep: { uid: pod.uid } });
  await connection.request({ snapshotSent: {} });
  connection.close();
  agent.faults.closeAfterAccept = true;
  const cut = connectProxy(agent.path);
  await new Promise<void>((resolve) => cut.socket.once('close', resolve));
});
