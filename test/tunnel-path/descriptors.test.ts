import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { after, before, test } from 'node:test';
import type { Host, Pod } from '@kmesh/lab';
import {
  type AgentNode,
  type DaemonMesh,
  metric,
  readiness,
  startDaemonMesh,
} from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import type { DaemonProcess } from '@kmesh/lab/testing/daemon/daemon-process.ts';
import {
  connect,
  doubleEcho,
  hello,
  type Listening,
  listen,
  readExactly,
} from '@kmesh/lab/testing/tunnel/traffic.ts';
import { createNetworkNamespace } from '@kmesh/linux';

const LIMIT = 256;

let mesh: DaemonMesh;
let place: AgentNode;
let server: Pod;
let stranger: Host;
let daemon: DaemonProcess;
let served: Listening;
const sockets: Socket[] = [];

before(async () => {
  mesh = await startDaemonMesh();
  place = await mesh.node();
  server = await mesh.pod(place.node);
  stranger = await mesh.lab.outsideHost('stranger');
  await place.agent.addPod(server);
  served = await listen(server, 8080, doubleEcho);
  daemon = await mesh.daemon(place, { through: `ulimit -n ${LIMIT} && exec "$@"` });
  await daemon.ready();
});
after(async () => {
  for (const socket of sockets) socket.destroy();
  served?.close();
  await mesh[Symbol.asyncDispose]();
});

function descriptors(): number {
  return readdirSync(`/proc/${daemon.pid}/fd`).length;
}

/** Returns the CPU seconds of the daemon. */
function processorSeconds(): number {
  const fields = readFileSync(`/proc/${daemon.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test('ROB-06: without free file descriptors new connections wait, a log line and a metric report it, the daemon answers, and all are served once some are free', async () => {
  const idle = descriptors();
  const echoed = new Set<Socket>();
  // Each connection needs two descriptors; more are opened than are available.
  for (let index = 0; index < 160; index += 1) {
    const socket = await connect(stranger, server.addresses.v4, 8080);
    sockets.push(socket);
    socket.once('data', () => echoed.add(socket));
    socket.write('hello world');
  }
  await daemon.until('it logs so', () => /\terror\t.*raise its file descriptor limit/.test(daemon.log()));
  assert.match(daemon.log(), /connections wait because the proxy cannot accept them: EMFILE/);
  assert.equal(
    daemon.log().split('raise its file descriptor limit').length,
    2,
    'once, not for each connection',
  );

  const before = processorSeconds();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.ok(processorSeconds() - before < 0.5, 'it does not loop');
  const waiting = sockets.filter((socket) => !echoed.has(socket));
  assert.ok(waiting.length > 20, `${waiting.length} wait`);
  assert.ok(echoed.size > 60, `${echoed.size} are served`);
  assert.equal(sockets.filter(({ closed }) => closed).length, 0, 'no connection is refused');

  // Enough descriptors are left for everything except new connections: metrics, readiness, and the CNI agent's pods.
  assert.equal(await metric(daemon, 'process_max_fds'), LIMIT);
  assert.ok(((await metric(daemon, 'process_open_fds')) ?? 0) >= LIMIT - 40);
  assert.ok(((await metric(daemon, 'kmesh_accept_failures_total')) ?? 0) > 0);
  assert.equal((await readiness(daemon)).status, 200);
  const late = await mesh.pod(place.node);
  assert.equal(await place.agent.addPod(late), '');
  const [alive] = echoed;
  assert.ok(alive);
  const answer = readExactly(alive, 22);
  alive.write('hello world');
  await answer;

  for (const socket of echoed) socket.destroy();
  await daemon.until('the waiting connections are served', () =>
    waiting.every((socket) => echoed.has(socket)),
  );
  for (const socket of sockets) socket.destroy();
  await daemon.until('the descriptors are free again', () => descriptors() <= idle + 8);
  assert.equal(await hello(stranger, server.addresses.v4, 8080), 'hello worldhello world');
  await place.agent.removePod(late);
});

test('ROB-06: without free descriptors a new pod is refused and pending, and served once there are some', async () => {
  // Each pod needs descriptors for its namespace and its listeners.
  const pods: { readonly uid: string; readonly namespace: ReturnType<typeof createNetworkNamespace> }[] = [];
  const connection = await place.agent.whenReady();
  try {
    let failure = '';
    while (failure === '' && pods.length < 100) {
      const pod = { uid: `many-${pods.length}`, namespace: createNetworkNamespace() };
      pods.push(pod);
      const fd = openSync(pod.namespace.path, 'r');
      const workloadInfo = { name: pod.uid, namespace: 'default', serviceAccount: 'default' };
      failure = await connection.request({ add: { uid: pod.uid, workloadInfo } }, [fd]);
      closeSync(fd);
    }
    assert.match(failure, /EMFILE/);
    assert.equal(connection.reason, undefined, 'the agent stays connected');
    for (const { uid } of pods.slice(0, 12)) assert.equal(await connection.request({ del: { uid } }), '');
    await daemon.until('the last pod is served', async () => {
      return (await metric(daemon, 'workload_manager_pending_proxy_count')) === 0;
    });
    await daemon.ready();
    assert.equal(await hello(stranger, server.addresses.v4, 8080), 'hello worldhello world');
  } finally {
    for (const { namespace } of pods) namespace.close();
  }
});
