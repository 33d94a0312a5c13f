import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { installRedirect, openHbone, type Pod } from '@kmesh/lab';
import {
  type AgentNode,
  type DaemonMesh,
  metric,
  readiness,
  startDaemonMesh,
} from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import type { DaemonProcess } from '@kmesh/lab/testing/daemon/daemon-process.ts';
import { tcpSocketsOf } from '@kmesh/lab/testing/traffic/tcp-sockets.ts';
import {
  connect,
  doubleEcho,
  ending,
  hello,
  listen,
  readExactly,
  until,
} from '@kmesh/lab/testing/tunnel/traffic.ts';
import { openListener, openNetworkNamespace, tcpState } from '@kmesh/linux';

let mesh: DaemonMesh;
let place: AgentNode;
let client: Pod;
let server: Pod;

before(async () => {
  mesh = await startDaemonMesh();
  place = await mesh.node();
  client = await mesh.pod(place.node);
  server = await mesh.pod(place.node);
  await place.agent.addPod(client);
  await place.agent.addPod(server);
  const served = await listen(server, 8080, doubleEcho);
  closers.push(() => served.close());
});
after(async () => {
  for (const close of closers) close();
  await mesh[Symbol.asyncDispose]();
});
const closers: (() => void)[] = [];

/** A daemon that is ready, with its connection to the agent. */
async function running(environment: Record<string, string> = {}): Promise<DaemonProcess> {
  const daemon = await mesh.daemon(place, { environment });
  await daemon.ready();
  return daemon;
}

/** An open connection from the client to the server that has transferred bytes. */
async function established(): Promise<Socket> {
  const socket = await connect(client, server.addresses.v4, 8080);
  await exchange(socket);
  return socket;
}

async function exchange(socket: Socket): Promise<void> {
  socket.write('hello world');
  assert.equal((await readExactly(socket, 22)).toString(), 'hello worldhello world');
}

/** Until the daemon accepts nothing in the server pod. */
async function noListeners(daemon: DaemonProcess): Promise<void> {
  await daemon.until('its listeners are closed', async () => {
    const sockets = await tcpSocketsOf(server, daemon.pid);
    return sockets.every(({ state }) => state !== tcpState.listening);
  });
}

async function stopped(daemon: DaemonProcess): Promise<void> {
  daemon.kill('SIGTERM');
  assert.deepEqual(await daemon.ended, { code: 0, signal: null });
}

describe('violations of the protocol by the CNI agent', () => {
  const breaches = {
    'ZDS-06: an add without workload info': async () => {
      place.agent.faults.omitWorkloadInfo = true;
      const answer = await place.agent.sendAdd(client);
      place.agent.faults.omitWorkloadInfo = false;
      return answer;
    },
    'ZDS-11: a keep after the snapshot': () =>
      place.agent.ready.at(-1)?.request({ keep: { uid: client.uid } }),
    'ZDS-11: a second snapshot': () => place.agent.ready.at(-1)?.request({ snapshotSent: {} }),
  };
  for (const [title, breach] of Object.entries(breaches)) {
    test(`${title} is answered with an error and ends the process with 1, without draining`, async () => {
      const daemon = await running({ CONNECTION_TERMINATION_DEADLINE: '60s' });
      const open = await established();
      const cut = ending(open, 5_000);
      const begun = performance.now();
      assert.notEqual(await breach(), '');
      assert.deepEqual(await daemon.ended, { code: 1, signal: null });
      assert.ok(performance.now() - begun < 2_000, 'at once');
      assert.notEqual(await cut, 'open');
      assert.doesNotMatch(daemon.log(), /draining/);
      assert.match(daemon.log(), /\terror\t.*CNI agent violated the ZDS protocol/);
    });
  }
});

test('ZDS-02, ZDS-07: gauges, readiness and counters follow pods that start, fail, and start later', async () => {
  const daemon = await running();
  assert.equal(await metric(daemon, 'workload_manager_active_proxy_count'), 2);
  const late = await mesh.pod(place.node);
  using namespace = openNetworkNamespace(late.namespacePath);
  const occupied = openListener({ namespace, address: '::', port: 15006 });
  assert.match(await place.agent.addPod(late), /15006/);
  assert.equal(await metric(daemon, 'workload_manager_pending_proxy_count'), 1);
  assert.deepEqual(await readiness(daemon), {
    status: 500,
    body: 'not ready, pending: workload proxy manager\n',
  });
  closeSync(occupied);
  const begun = performance.now();
  await daemon.ready();
  assert.ok(performance.now() - begun < 6_000, 'retried within 5 s');
  assert.equal(await metric(daemon, 'workload_manager_pending_proxy_count'), 0);
  assert.equal(await metric(daemon, 'workload_manager_active_proxy_count'), 3);
  assert.equal(await metric(daemon, 'workload_manager_proxies_started_total'), 3);
  await place.agent.removePod(late);
  assert.equal(await metric(daemon, 'workload_manager_proxies_stopped_total'), 1);
  await stopped(daemon);
});

test('ZDS-18: without a socket at the start it logs so once, is not ready, and retries until there is one', async () => {
  place.agent.stopListening();
  const daemon = await mesh.daemon(place, { environment: { RUST_LOG: 'info,zds=debug' } });
  const complaints = (): string[] =>
    daemon
      .log()
      .split('\n')
      .filter((line) => line.includes(place.agent.path) && !line.includes('\tdebug\t'));
  await daemon.until('it has tried six times', () =>
    /still cannot be reached.*failures=6/.test(daemon.log()),
  );
  assert.equal(complaints().length, 1, 'fewer lines than attempts');
  assert.match(complaints()[0] ?? '', /\terror\tzds\t.*istio-cni.*(ENOENT|No such file)/);
  assert.equal((await readiness(daemon)).status, 500);
  place.agent.listen();
  await daemon.ready();
  await stopped(daemon);
});

test('ZDS-14: without the agent the process is not ready, continues to serve, and recovers with a new snapshot', async () => {
  const daemon = await running();
  const open = await established();
  const connection = place.agent.ready.at(-1);
  place.agent.stopListening();
  connection?.close();
  await daemon.until('it is not ready', async () => (await readiness(daemon)).status === 500);
  await exchange(open);
  assert.equal(await hello(client, server.addresses.v4, 8080), 'hello worldhello world');
  place.agent.listen();
  await daemon.ready();
  await exchange(open);
  open.destroy();
  assert.equal(await metric(daemon, 'workload_manager_proxies_started_total'), 2, 'proxies keep running');
  await stopped(daemon);
});

test('ZDS-23: while the control plane is unreachable no hello is sent; hello, snapshot and ready follow the first sync', async () => {
  const before = place.agent.connections.length;
  const daemon = await mesh.daemon(place, { controlPlane: false });
  const tries = (): number => daemon.log().split('xDS connection failed').length - 1;
  await daemon.until('it has tried three times', () => tries() >= 3);
  assert.equal(place.agent.connections.length, before, 'no connection either');
  assert.equal((await readiness(daemon)).status, 500);
  await mesh.connect(daemon.host);
  await daemon.ready();
  assert.equal(place.agent.connections.length, before + 1);
  await stopped(daemon);
});

describe('ZDS-19: sockets in a pod namespace', () => {
  test('ZDS-19: each has mark 1337, listeners included, and listeners share their ports', async () => {
    const daemon = await running();
    const stranger = await mesh.lab.outsideHost();
    const outside = await listen(stranger, 8080, doubleEcho);
    const held = [
      await established(),
      await connect(client, stranger.addresses.v4, 8080),
      await connect(stranger, server.addresses.v4, 8080),
    ];
    for (const socket of held) await exchange(socket);
    const [atClient, atServer] = [
      await tcpSocketsOf(client, daemon.pid),
      await tcpSocketsOf(server, daemon.pid),
    ];
    for (const socket of [...atClient, ...atServer]) assert.equal(socket.mark, 1337, JSON.stringify(socket));
    for (const sockets of [atClient, atServer]) {
      const listening = sockets.filter(({ state }) => state === tcpState.listening);
      assert.deepEqual(listening.map(({ localPort }) => localPort).sort(), [15001, 15006, 15008]);
    }
    // Two accepted and an HBONE and a plain one onward; HBONE and plain ones accepted and two to the application.
    for (const sockets of [atClient, atServer]) {
      assert.equal(sockets.filter(({ state }) => state === tcpState.established).length, 4);
    }
    using namespace = openNetworkNamespace(server.namespacePath);
    closeSync(openListener({ namespace, address: '::', port: 15008, reusePort: true }));
    assert.throws(() => openListener({ namespace, address: '::', port: 15008 }), /EADDRINUSE/);
    for (const socket of held) socket.destroy();
    outside.close();
    await stopped(daemon);
  });

  test('ZDS-19: with INPOD_PORT_REUSE=false no other process can bind the ports', async () => {
    const daemon = await running({ INPOD_PORT_REUSE: 'false' });
    using namespace = openNetworkNamespace(server.namespacePath);
    for (const port of [15001, 15006, 15008]) {
      assert.throws(() => openListener({ namespace, address: '::', port, reusePort: true }), /EADDRINUSE/);
    }
    await stopped(daemon);
  });
});

describe('shutdown with an open proxied connection', () => {
  test('PRC-08: the process continues while data is forwarded, and ends within 1 s after the client closes', async () => {
    const daemon = await running({ CONNECTION_TERMINATION_DEADLINE: '60s' });
    const open = await established();
    daemon.kill('SIGTERM');
    await daemon.until('it drains', () => daemon.log().includes('draining'));
    for (let times = 0; times < 100; times++) await exchange(open);
    const begun = performance.now();
    open.destroy();
    assert.deepEqual(await daemon.ended, { code: 0, signal: null });
    assert.ok(performance.now() - begun < 1_000, `ended after ${performance.now() - begun} ms`);
  });

  test('PRC-09: at the deadline the connection is closed and the process ends', async () => {
    const daemon = await running({ CONNECTION_TERMINATION_DEADLINE: '1s' });
    const open = await established();
    const cut = ending(open, 10_000);
    const begun = performance.now();
    daemon.kill('SIGTERM');
    await daemon.until('it drains', () => daemon.log().includes('draining'));
    await exchange(open);
    assert.notEqual(await cut, 'open');
    assert.deepEqual(await daemon.ended, { code: 0, signal: null });
    const took = performance.now() - begun;
    assert.ok(took > 900 && took < 3_000, `ended after ${took} ms`);
    assert.match(daemon.log(), /connection complete.*direction="?outbound"?.*error=/);
  });

  test('PRC-10: a second SIGINT during the drain ends it at once with 0', async () => {
    const daemon = await running({ CONNECTION_TERMINATION_DEADLINE: '60s' });
    const open = await established();
    daemon.kill('SIGINT');
    await daemon.until('it drains', () => daemon.log().includes('draining'));
    await exchange(open);
    const begun = performance.now();
    const cut = ending(open, 5_000);
    daemon.kill('SIGINT');
    assert.deepEqual(await daemon.ended, { code: 0, signal: null });
    assert.ok(performance.now() - begun < 1_000);
    assert.notEqual(await cut, 'open');
  });
});

test('ZDS-20: of two processes for one pod the first gets SIGTERM: new connections go to the second, old ones finish', async () => {
  const first = await running({ CONNECTION_TERMINATION_DEADLINE: '60s' });
  const old = await established();
  const second = await running();
  first.kill('SIGTERM');
  await noListeners(first);
  const opened = async (): Promise<number> =>
    (await metric(second, 'istio_tcp_connections_opened_total')) ?? 0;
  const before = await opened();
  for (let call = 0; call < 40; call += 1) {
    assert.equal(await hello(client, server.addresses.v4, 8080), 'hello worldhello world');
  }
  // Connections that a plan admits are counted some milliseconds later.
  await second.until('all went to the second', async () => (await opened()) >= before + 40);
  await exchange(old);
  old.end();
  old.destroy();
  assert.deepEqual(await first.ended, { code: 0, signal: null });
  await stopped(second);
});

test('ZDS-20: a peer with a pending handshake at SIGTERM is served, gets GOAWAY, and its stream finishes', async () => {
  const daemon = await running({ CONNECTION_TERMINATION_DEADLINE: '60s' });
  const stranger = await mesh.lab.outsideHost();
  const { authority } = mesh.istiod;
  const issued = authority.issue({ uris: ['spiffe://cluster.local/ns/default/sa/stranger'] });
  const identity = {
    certificateChainPem: issued.chainPem,
    privateKeyPem: issued.privateKeyPem,
    rootsPem: [authority.rootPem],
  };
  const socket = await connect(stranger, server.addresses.v4, 15008);
  await daemon.until('it has accepted', async () => {
    const sockets = await tcpSocketsOf(server, daemon.pid);
    return sockets.some(({ state, localPort }) => state === tcpState.established && localPort === 15008);
  });
  daemon.kill('SIGTERM');
  await noListeners(daemon);
  using peer = await openHbone(socket, { identity });
  const { status, stream } = await peer.request(`${server.addresses.v4}:8080`);
  assert.equal(status, 200);
  const echoed = (): Promise<void> =>
    new Promise((resolve) => {
      let text = '';
      stream.on('data', (bytes: Buffer) => {
        text += bytes.toString();
        if (text === 'hello worldhello world') resolve();
      });
      stream.write('hello world');
    });
  await echoed();
  await until(() => peer.goaways > 0);
  stream.removeAllListeners('data');
  await echoed();
  stream.end();
  assert.deepEqual(await daemon.ended, { code: 0, signal: null });
});

test('a pod whose namespace has IPv6 switched off is served over IPv4', async () => {
  const daemon = await running();
  const late = await mesh.pod(place.node);
  await installRedirect(late);
  await late.run('sysctl', ['-qw', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.lo.disable_ipv6=1']);
  assert.equal(await place.agent.sendAdd(late), '');
  const listening = await listen(late, 8080, doubleEcho, '0.0.0.0');
  assert.equal(await hello(client, late.addresses.v4, 8080), 'hello worldhello world');
  assert.equal(await hello(late, server.addresses.v4, 8080), 'hello worldhello world');
  listening.close();
  await place.agent.sendDelete(late);
  await stopped(daemon);
});
