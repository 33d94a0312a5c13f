import { createServer, type Server, Socket } from 'node:net';
import { eventually } from '@kmesh/api/testing';
import { connectSocket, openListener, openNetworkNamespace } from '@kmesh/linux';
import type { Host } from '../../pods/host.ts';

/** Opens a connection from a host, half-open allowed; rejects when the connect fails. */
export async function connect(
  host: Host,
  address: string,
  port: number,
  options: { bindAddress?: string; transparent?: boolean } = {},
): Promise<Socket> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = await connectSocket({ namespace, address, port, timeout: 5_000, ...options });
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  socket.on('error', () => undefined);
  return socket;
}

export interface Listening {
  readonly port: number;
  readonly server: Server;
  /** Received connections and bytes. */
  readonly seen: { connections: number; bytes: number; peers: string[] };
  close(): void;
}

/** Opens a server on a host that passes each connection to `onConnection`. */
export async function listen(
  host: Host,
  port: number,
  onConnection: (socket: Socket) => void,
  address = '::',
): Promise<Listening> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = openListener({ namespace, address, port, reuseAddress: true });
  const seen = { connections: 0, bytes: 0, peers: [] as string[] };
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    seen.connections += 1;
    seen.peers.push((socket.remoteAddress ?? '').replace(/^::ffff:/, ''));
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      seen.bytes += chunk.length;
    });
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen({ fd }, resolve));
  return {
    port,
    server,
    seen,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Answers every 11-byte message with it twice (fixture F7). */
export function doubleEcho(socket: Socket): void {
  socket.on('data', (chunk: Buffer) => socket.write(Buffer.concat([chunk, chunk])));
  socket.on('end', () => socket.end());
}

/** Bytes that arrive between two reads: a socket in flowing mode keeps reading, with or without a listener. */
const unread = new WeakMap<Socket, Buffer[]>();

function keepUnread(socket: Socket): void {
  if (unread.has(socket)) return;
  unread.set(socket, []);
  socket.on('data', (chunk: Buffer) => unread.get(socket)?.push(chunk));
}

/** Calls `onData` with unread and later bytes, until the returned function is called. */
function read(socket: Socket, onData: (chunk: Buffer) => void): () => void {
  keepUnread(socket);
  const take = (): void => {
    for (const chunk of unread.get(socket)?.splice(0) ?? []) onData(chunk);
  };
  socket.on('data', take);
  queueMicrotask(take);
  return () => socket.off('data', take);
}

/** Reads until the peer ends; rejects on a reset. */
export function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  return new Promise((resolve, reject) => {
    read(socket, (chunk) => chunks.push(chunk));
    socket.once('end', () => resolve(Buffer.concat(chunks)));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
}

/** Reads exactly `length` bytes; rejects when the connection ends earlier. */
export function readExactly(socket: Socket, length: number, milliseconds = 20_000): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let have = 0;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => finish(new Error(`only ${have} of ${length} bytes arrived`)),
      milliseconds,
    );
    const finish = (error?: Error): void => {
      clearTimeout(timer);
      stop();
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      if (error === undefined) resolve(Buffer.concat(chunks));
      else reject(error);
    };
    const stop = read(socket, (chunk) => {
      chunks.push(chunk);
      have += chunk.length;
      if (have >= length) finish();
    });
    const onEnd = (): void => finish(new Error(`ended after ${have} of ${length} bytes`));
    socket.once('end', onEnd);
    socket.once('close', onEnd);
  });
}

/** Returns how the connection ends when nothing more is sent: `reset`, `end`, or `open` after `milliseconds`. */
export function ending(socket: Socket, milliseconds = 3_000): Promise<'reset' | 'end' | 'open'> {
  if (socket.destroyed) return Promise.resolve(socket.errored === null ? 'end' : 'reset');
  if (socket.readableEnded) return Promise.resolve('end');
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('open'), milliseconds);
    const done = (how: 'reset' | 'end') => (): void => {
      clearTimeout(timer);
      resolve(how);
    };
    socket.resume();
    socket.once('error', done('reset'));
    socket.once('end', done('end'));
    socket.once('close', done('end'));
  });
}

/** Sends "hello world" to a doubling server and closes. Returns the answer. */
export async function hello(host: Host, address: string, port: number): Promise<string> {
  const socket = await connect(host, address, port);
  try {
    socket.write('hello world');
    const answer = await readExactly(socket, 22);
    const ended = readAll(socket).catch(() => undefined);
    socket.end();
    await ended;
    return answer.toString();
  } finally {
    socket.destroy();
  }
}

export async function until(condition: () => boolean, milliseconds?: number): Promise<void> {
  await eventually(String(condition), condition, milliseconds);
}

/**
 * Connects and sends a request. Returns the end that the proxy decides: `refused`, `closed` without an answer, or
 * `open`.
 */
export async function fate(
  host: Host,
  address: string,
  port: number,
): Promise<'refused' | 'closed' | 'open'> {
  const socket = await connect(host, address, port).catch(() => undefined);
  if (socket === undefined) return 'refused';
  socket.on('data', () => {
    throw new Error(`data came from ${address}:${port}`);
  });
  socket.write('GET / HTTP/1.1\r\n\r\n');
  const how = await ending(socket, 2_500);
  socket.destroy();
  // By FIN, or by RST if the request arrived first.
  return how === 'open' ? 'open' : 'closed';
}
