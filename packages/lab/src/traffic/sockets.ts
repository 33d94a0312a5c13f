import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { createServer, type Server, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { KmeshError } from '@kmesh/api';
import { connectSocket, openListener, openNetworkNamespace } from '@kmesh/linux';
import { keepAlive } from './http.ts';
import type { MakerAnswer, MakerRequest } from './socket-maker.ts';

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  /** Source address; the kernel's choice by default. */
  readonly localAddress?: string;
  readonly localPort?: number;
  /** Milliseconds; 5,000 by default. */
  readonly timeoutMs?: number;
}

export interface ListenOptions {
  /** 0 for one that is free. */
  readonly port: number;
  /** Every address of both families by default. */
  readonly host?: string;
}

export interface DatagramExchange {
  readonly host: string;
  readonly port: number;
  readonly message: string;
  readonly timeoutMs?: number;
}

type Spawn = (command: string, parameters: readonly string[], options: SpawnOptions) => ChildProcess;
type Distributed<T> = T extends unknown ? Omit<T, 'id'> : never;
interface MakerResult {
  readonly handle: Socket | Server | undefined;
  readonly text: string;
}
interface Waiter {
  resolve(result: MakerResult): void;
  reject(error: Error): void;
  handle?: Socket | Server;
}

const PROGRAM = fileURLToPath(new URL('./socket-maker.ts', import.meta.url));

/**
 * Creates sockets on a host for this process: a program on the host opens them, so that they belong to its namespace
 * and cgroup and its hooks apply, and passes them to this process.
 */
export class SocketMaker {
  readonly #spawn: Spawn;
  readonly #waiters = new Map<number, Waiter>();
  #child: ChildProcess | undefined;
  #lastId = 0;

  constructor(spawn: Spawn) {
    this.#spawn = spawn;
  }

  /** Rejects with an error that carries the connect's `code`, such as ECONNREFUSED. Sockets may be half open. */
  async connect(options: ConnectOptions): Promise<Socket> {
    const { handle } = await this.#queryServer({ kind: 'connect', options });
    const socket = handle as Socket;
    socket.allowHalfOpen = true;
    return socket;
  }

  async listen(options: ListenOptions, onConnection: (socket: Socket) => void): Promise<Server> {
    const { handle } = await this.#queryServer({ kind: 'listen', options });
    const server = handle as Server & { allowHalfOpen: boolean };
    server.allowHalfOpen = true;
    return server.on('connection', onConnection);
  }

  async exchangeDatagram(options: DatagramExchange): Promise<string> {
    return (await this.#queryServer({ kind: 'datagram', options })).text;
  }

  #queryServer(request: Distributed<MakerRequest>): Promise<MakerResult> {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#child ??= this.#start();
    const { promise, resolve, reject } = Promise.withResolvers<MakerResult>();
    this.#waiters.set(id, { resolve, reject });
    keepAlive(this.#child, true);
    this.#child.send({ ...request, id });
    return promise;
  }

  #start(): ChildProcess {
    const child = this.#spawn(process.execPath, ['--disable-warning=ExperimentalWarning', PROGRAM], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child.on('message', (message, handle) => {
      this.#onAnswer(message as MakerAnswer, handle as Socket | Server | undefined);
    });
    child.once('exit', () => {
      this.#child = undefined;
      const error = new KmeshError(
        'KMESH_LAB_PROGRAM_ENDED',
        'The program that makes sockets on a lab host ended.',
      );
      for (const waiter of this.#waiters.values()) waiter.reject(error);
      this.#waiters.clear();
    });
    return child;
  }

  #onAnswer(answer: MakerAnswer, handle: Socket | Server | undefined): void {
    const waiter = this.#waiters.get(answer.id);
    if (waiter === undefined) return;
    if (answer.kind === 'handle') {
      if (handle === undefined) return;
      // A reset may arrive before a listener is added; it is then in `errored`.
      handle.on('error', () => undefined);
      waiter.handle = handle;
      return;
    }
    this.#waiters.delete(answer.id);
    if (this.#waiters.size === 0 && this.#child !== undefined) keepAlive(this.#child, false);
    if (answer.kind === 'done') waiter.resolve({ handle: waiter.handle, text: answer.text ?? '' });
    else waiter.reject(Object.assign(new Error(answer.message), { code: answer.code }));
  }
}

/** Anything with a network namespace. */
interface Place {
  readonly namespacePath: string;
}

/**
 * Opens a connection from a host's namespace whose socket belongs to this process, so not to the host's cgroup: for the
 * proxy's ports, and for peers. Connections of the kernel path need `host.connect`.
 */
export async function connectFrom(
  host: Place,
  to: {
    readonly host: string;
    readonly port: number;
    readonly localAddress?: string;
    readonly timeoutMs?: number;
  },
): Promise<Socket> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = await connectSocket({
    namespace,
    address: to.host,
    port: to.port,
    timeout: to.timeoutMs ?? 5_000,
    ...(to.localAddress === undefined ? {} : { bindAddress: to.localAddress }),
  });
  const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
  socket.on('error', () => undefined);
  return socket;
}

/** A server in a host's namespace, in this process. */
export async function listenIn(
  host: Place,
  at: { readonly address: string; readonly port: number },
  onConnection: (socket: Socket) => void,
): Promise<Server> {
  using namespace = openNetworkNamespace(host.namespacePath);
  const fd = openListener({ namespace, address: at.address, port: at.port, reuseAddress: true });
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen({ fd }, resolve));
  return server.unref();
}
