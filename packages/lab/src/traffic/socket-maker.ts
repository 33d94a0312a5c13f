/**
 * The program of `SocketMaker`: runs on a lab host, opens sockets there and passes them to the test process. A socket
 * is sent with a `handle` message and closed here before `done` follows, so that it has one owner.
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import type { ConnectOptions, DatagramExchange, ListenOptions } from './sockets.ts';

export type MakerRequest =
  | { readonly id: number; readonly kind: 'connect'; readonly options: ConnectOptions }
  | { readonly id: number; readonly kind: 'listen'; readonly options: ListenOptions }
  | { readonly id: number; readonly kind: 'datagram'; readonly options: DatagramExchange };

export type MakerAnswer =
  | { readonly id: number; readonly kind: 'handle' }
  | { readonly id: number; readonly kind: 'done'; readonly text?: string }
  | {
      readonly id: number;
      readonly kind: 'error';
      readonly code: string | undefined;
      readonly message: string;
    };

function answer(message: MakerAnswer): void {
  process.send?.(message);
}

function fail(id: number, error: NodeJS.ErrnoException): void {
  answer({ id, kind: 'error', code: error.code, message: error.message });
}

function openConnection(id: number, options: ConnectOptions): void {
  const { host, port, localAddress, localPort, timeoutMs = 5000 } = options;
  const socket = connect({
    host,
    port,
    allowHalfOpen: true,
    ...(localAddress === undefined ? {} : { localAddress }),
    ...(localPort === undefined ? {} : { localPort }),
  });
  // The first bytes of the server must be read by the process that gets the socket.
  socket.pause();
  const timeout = setTimeout(() => {
    socket.destroy(Object.assign(new Error(`connect ETIMEDOUT ${host}:${port}`), { code: 'ETIMEDOUT' }));
  }, timeoutMs);
  socket.once('error', (error) => {
    clearTimeout(timeout);
    fail(id, error);
  });
  socket.once('connect', () => {
    clearTimeout(timeout);
    process.send?.({ id, kind: 'handle' } satisfies MakerAnswer, socket);
    answer({ id, kind: 'done' });
  });
}

function openServer(id: number, options: ListenOptions): void {
  const server = createServer({ pauseOnConnect: true });
  server.once('error', (error) => fail(id, error));
  server.listen({ port: options.port, host: options.host ?? '::', backlog: 4096 }, () => {
    process.send?.({ id, kind: 'handle' } satisfies MakerAnswer, server, undefined, () => {
      server.close();
      answer({ id, kind: 'done' });
    });
  });
}

function exchangeDatagram(id: number, options: DatagramExchange): void {
  const socket = createSocket(options.host.includes(':') ? 'udp6' : 'udp4');
  const timeout = setTimeout(() => {
    socket.close();
    fail(
      id,
      Object.assign(new Error(`no datagram from ${options.host}:${options.port}`), { code: 'ETIMEDOUT' }),
    );
  }, options.timeoutMs ?? 2000);
  const end = () => {
    clearTimeout(timeout);
    socket.close();
  };
  socket.once('error', (error) => {
    end();
    fail(id, error);
  });
  socket.once('message', (message) => {
    end();
    answer({ id, kind: 'done', text: message.toString() });
  });
  // Only a connected datagram socket gets the error of a closed port.
  socket.connect(options.port, options.host, () => socket.send(options.message));
}

function onRequest(request: MakerRequest): void {
  if (request.kind === 'connect') openConnection(request.id, request.options);
  else if (request.kind === 'listen') openServer(request.id, request.options);
  else exchangeDatagram(request.id, request.options);
}

process.on('message', (message) => onRequest(message as MakerRequest));
process.on('disconnect', () => process.exit(0));
