import type { RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Limits on the open connections of a server; excess ones are closed at once. */
interface ConnectionLimits {
  readonly total: number;
  /** Maximum from one address, so that one client cannot use up the total. */
  readonly perClient: number;
}

/** Limits the open connections of a server. */
export function limitConnections(server: Server, { total, perClient }: ConnectionLimits): void {
  const open = new Map<string, number>();
  server.maxConnections = total;
  server.on('connection', (socket: Socket) => {
    const client = socket.remoteAddress ?? '';
    const count = open.get(client) ?? 0;
    if (count >= perClient) {
      socket.destroy();
      return;
    }
    open.set(client, count + 1);
    socket.once('close', () => {
      const left = (open.get(client) ?? 1) - 1;
      if (left === 0) open.delete(client);
      else open.set(client, left);
    });
  });
}

/**
 * Handles one request of a connection at a time. A pipelining client gets its first answer, and then the end of the
 * connection: pipelined answers would be buffered whole in memory.
 */
export function oneAtATime(handler: RequestListener): RequestListener {
  const current = new WeakMap<Socket, ServerResponse>();
  const ending = new WeakSet<Socket>();
  return (request, response) => {
    const { socket } = request;
    const before = current.get(socket);
    if (before !== undefined) {
      if (ending.has(socket)) return;
      ending.add(socket);
      socket.pause();
      before.once('finish', () => socket.destroySoon());
      return;
    }
    current.set(socket, response);
    response.once('close', () => current.delete(socket));
    handler(request, response);
  };
}

/** Limits of a {@link Turnstile}. */
interface TurnLimits {
  /** Turns in progress at the same time. */
  readonly concurrent: number;
  /** Turns of one client, in progress or waiting. */
  readonly perClient: number;
  /** Waiting turns. */
  readonly waiting: number;
}

/** Admits a few clients at a time, first come, first served. */
export class Turnstile {
  readonly #limits: TurnLimits;
  readonly #clients = new Map<string, number>();
  readonly #queue: (() => void)[] = [];
  /** Returns whether a new request must wait until no other is being served. */
  readonly #mustEmpty: () => boolean;
  #taken = 0;

  constructor(limits: TurnLimits, mustEmpty: () => boolean) {
    this.#limits = limits;
    this.#mustEmpty = mustEmpty;
  }

  /** Number of turns in progress. */
  get taken(): number {
    return this.#taken;
  }

  /** Resolves when it is this client's turn; returns `undefined` if it has, or all clients have, too many requests. */
  enter(client: string): Promise<Disposable> | undefined {
    const mine = this.#clients.get(client) ?? 0;
    if (mine >= this.#limits.perClient || this.#queue.length >= this.#limits.waiting) return undefined;
    this.#clients.set(client, mine + 1);
    const turn: Disposable = { [Symbol.dispose]: () => this.#leave(client) };
    return new Promise((resolve) => {
      this.#queue.push(() => resolve(turn));
      this.#admit();
    });
  }

  #leave(client: string): void {
    this.#taken -= 1;
    const left = (this.#clients.get(client) ?? 1) - 1;
    if (left === 0) this.#clients.delete(client);
    else this.#clients.set(client, left);
    this.#admit();
  }

  #admit(): void {
    while (this.#taken < this.#limits.concurrent && (this.#taken === 0 || !this.#mustEmpty())) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#taken += 1;
      next();
    }
  }
}
