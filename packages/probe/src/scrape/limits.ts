import type { RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How many connections a server keeps open; beyond that new ones are closed at once. */
interface ConnectionLimits {
  readonly total: number;
  /** From one address: a client at its limit leaves the other clients theirs. */
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
 * Answers one request of a connection at a time. A client that pipelines gets its first answer, and then the end of the
 * connection: answers that wait for the ones before them are held in memory, whole.
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
  /** Turns that are taken at the same time. */
  readonly concurrent: number;
  /** Turns that one client has or waits for. */
  readonly perClient: number;
  /** Turns that are waited for. */
  readonly waiting: number;
}

/** Lets a few clients in at a time, in the order in which they came. */
export class Turnstile {
  readonly #limits: TurnLimits;
  readonly #clients = new Map<string, number>();
  readonly #queue: (() => void)[] = [];
  /** Whether a new request has to wait until no other is being served. */
  readonly #mustEmpty: () => boolean;
  #taken = 0;

  constructor(limits: TurnLimits, mustEmpty: () => boolean) {
    this.#limits = limits;
    this.#mustEmpty = mustEmpty;
  }

  /** Turns that are taken now. */
  get taken(): number {
    return this.#taken;
  }

  /** Resolves when it is this client's turn; `undefined` at once when it, or all together, ask for too many. */
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
