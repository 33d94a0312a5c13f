import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server, Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { closeDescriptor, duplicateDescriptor, raiseDescriptorLimit } from '../src/descriptors.ts';
import { createNetworkNamespace, type NetworkNamespace } from '../src/network-namespace.ts';
import { connectSocket, openListener, openUdpSocket } from '../src/socket.ts';
import {
  getSocketOption,
  socketCookie,
  socketLocalAddress,
  socketPeerAddress,
} from '../src/socket-options.ts';

let namespace: NetworkNamespace;
const servers: Server[] = [];

before(() => {
  namespace = createNetworkNamespace('sockets');
});

after(() => {
  for (const server of servers) server.close();
  namespace.close();
});

/** A Node.js server on a listener that was created in the namespace. */
async function serve(fd: number, handle: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, handle);
  servers.push(server);
  server.listen({ fd });
  await once(server, 'listening');
  return server;
}

function wrap(fd: number): Socket {
  return new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
}

/** Descriptor of a Node socket, for options that Node does not know. */
function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

/** Reads to the peer's end. Not by async iteration, which destroys the socket at the end of its readable side. */
async function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  await once(socket, 'end');
  return text;
}

for (const [address, wildcard] of [
  ['127.0.0.1', '0.0.0.0'],
  ['::1', '::'],
] as const) {
  test(`Node.js serves and dials ${address} inside a namespace, half-open connections included`, async () => {
    const listener = openListener({ namespace, address: wildcard, port: 0, backlog: 16 });
    const { port } = socketLocalAddress(listener);
    const server = await serve(listener, async (socket) => {
      // The answer is written only after the client's half-close.
      socket.end(`got ${await readAll(socket)}`);
    });
    const socket = wrap(await connectSocket({ namespace, address, port }));
    socket.end('hello');
    assert.equal(await readAll(socket), 'got hello');
    server.close();
    await once(server, 'close');
    await assert.rejects(connectSocket({ address, port }), {
      errnoName: 'ECONNREFUSED',
      code: 'KMESH_SOCKET_FAILED',
    });
  });
}

test('a paused accepted socket keeps what the client sent first', async () => {
  const listener = openListener({ namespace, address: '127.0.0.1', port: 0 });
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  servers.push(server);
  server.listen({ fd: listener });
  const accepted = once(server, 'connection');
  const client = wrap(
    await connectSocket({ namespace, address: '127.0.0.1', port: socketLocalAddress(listener).port }),
  );
  client.end('early');
  const [socket] = (await accepted) as [Socket];
  socket.resume();
  assert.equal(await readAll(socket), 'early');
  socket.end();
  client.resume();
  server.close();
  await once(server, 'close');
});

test('one IPv6 listener serves both families by default, and shows mapped peers as IPv4', async () => {
  const listener = openListener({ namespace, address: '::', port: 0 });
  const { port } = socketLocalAddress(listener);
  const server = await serve(listener, (socket) => {
    socket.end(JSON.stringify(socketPeerAddress(descriptorOf(socket))));
  });
  const client = wrap(await connectSocket({ namespace, address: '127.0.0.1', port }));
  const peer = JSON.parse(await readAll(client));
  assert.equal(peer.address, '127.0.0.1');
  assert.equal(peer.family, 4);
  client.destroy();
  server.close();
  const strict = openListener({ namespace, address: '::', port: 0, ipv6Only: true });
  const strictPort = socketLocalAddress(strict).port;
  await assert.rejects(connectSocket({ namespace, address: '127.0.0.1', port: strictPort }), {
    errnoName: 'ECONNREFUSED',
  });
  closeDescriptor(strict);
});

test('every requested option is set on the socket', async () => {
  const fd = openListener({
    namespace,
    address: '0.0.0.0',
    port: 0,
    mark: 0x539,
    transparent: true,
    freebind: true,
    reuseAddress: true,
    reusePort: true,
    keepAlive: { time: 180, interval: 20, retries: 9 },
    userTimeout: 30_000,
    noDelay: true,
  });
  const expected = {
    mark: 0x539,
    transparent4: 1,
    freebind4: 1,
    reuseAddress: 1,
    reusePort: 1,
    keepAlive: 1,
    keepAliveIdle: 180,
    keepAliveInterval: 20,
    keepAliveCount: 9,
    userTimeout: 30_000,
    noDelay: 1,
  } as const;
  for (const [name, value] of Object.entries(expected)) {
    assert.equal(getSocketOption(fd, name as keyof typeof expected), value, name);
  }
  const second = openListener({
    namespace,
    address: '0.0.0.0',
    port: socketLocalAddress(fd).port,
    reusePort: true,
  });
  assert(socketCookie(fd) > 0n && socketCookie(fd) !== socketCookie(second));
  assert.equal(BigInt.asUintN(64, BigInt(getSocketOption(fd, 'namespaceCookie'))), namespace.cookie);
  closeDescriptor(second);
  closeDescriptor(fd);
});

test('a transparent client dials from an address that is not its own', async () => {
  using pod = createNetworkNamespace();
  const listener = openListener({ namespace: pod, address: '127.0.0.1', port: 0 });
  const { port } = socketLocalAddress(listener);
  // Packets to the foreign address must be routed to this namespace.
  inside(pod, 'ip route add local 198.51.100.0/24 dev lo');
  const source = { bindAddress: '198.51.100.7', transparent: true, bindAddressNoPort: true };
  const fd = await connectSocket({ namespace: pod, address: '127.0.0.1', port, ...source });
  assert.equal(socketLocalAddress(fd).address, '198.51.100.7');
  assert(socketLocalAddress(fd).port > 0);
  closeDescriptor(fd);
  closeDescriptor(listener);
});

test('an unanswered connection attempt times out without blocking the loop, and can be aborted', async () => {
  using pod = createNetworkNamespace();
  inside(
    pod,
    'ip link add kd0 type veth peer name kd1',
    'ip addr add 192.0.2.1/24 dev kd0',
    'ip link set kd0 up',
    'ip link set kd1 up',
  );
  const options = { namespace: pod, address: '192.0.2.9', port: 80 };
  await assert.rejects(connectSocket({ ...options, timeout: 30 }), {
    errnoName: 'ETIMEDOUT',
    code: 'KMESH_SOCKET_FAILED',
    message: /cannot connect to 192.0.2.9:80/,
  });
  const controller = new AbortController();
  const dialling = connectSocket({ ...options, signal: controller.signal });
  controller.abort(new Error('enough'));
  await assert.rejects(dialling, /enough/);
});

test('UDP sockets are bound inside the namespace', () => {
  const fd = openUdpSocket({ namespace, address: '127.0.0.1', port: 53, receiveOriginalDestination: true });
  assert.deepEqual(socketLocalAddress(fd), { address: '127.0.0.1', port: 53, family: 4 });
  assert.equal(getSocketOption(fd, 'receiveOriginalDestination4'), 1);
  assert.throws(() => openUdpSocket({ namespace, address: '127.0.0.1', port: 53 }), {
    errnoName: 'EADDRINUSE',
    syscall: 'bind',
    message: /cannot bind UDP 127.0.0.1:53 in network namespace sockets: bind failed with EADDRINUSE/,
  });
  closeDescriptor(fd);
});

test('invalid arguments are refused before a socket is created', async () => {
  assert.throws(
    () => openListener({ address: 'localhost', port: 1 }),
    /address is "localhost"; it must be an IP address/,
  );
  assert.throws(() => openListener({ address: '::', port: 65536 }), /port is 65536/);
  assert.throws(() => openListener({ address: '::', port: 0, mark: -1 }), /mark is -1/);
  await assert.rejects(connectSocket({ address: '::1', port: 1, bindAddress: '1.2.3.4' }), /same family/);
});

test('descriptors are copied, closed once, and their limit is known', () => {
  const fd = openUdpSocket({ address: '127.0.0.1', port: 0 });
  const copy = duplicateDescriptor(fd);
  assert.equal(socketCookie(fd), socketCookie(copy));
  closeDescriptor(fd);
  closeDescriptor(copy);
  assert.throws(() => closeDescriptor(copy), { code: 'KMESH_DESCRIPTOR_FAILED', errnoName: 'EBADF' });
  assert(raiseDescriptorLimit(4096) >= 1024);
});

function inside(pod: NetworkNamespace, ...commands: string[]): void {
  execFileSync('nsenter', [`--net=${pod.path}`, 'sh', '-ec', commands.join('\n')]);
}
