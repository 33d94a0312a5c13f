import type { ConnectionEnd, ConnectionObserver, ConnectionStart, EarlyDeny, Reporter } from '@kmesh/probe';

/** One connection as an observer saw it. */
export interface Recorded {
  start: ConnectionStart;
  end: ConnectionEnd | undefined;
  fromClient: number;
  fromServer: number;
}

/** An observer that keeps everything. */
export class Recorder implements ConnectionObserver {
  readonly connections: Recorded[] = [];
  readonly denies: EarlyDeny[] = [];
  readonly sockets: Record<Reporter, number> = { source: 0, destination: 0 };
  readonly #waiters: (() => void)[] = [];

  opened(start: ConnectionStart) {
    const recorded: Recorded = { start, end: undefined, fromClient: 0, fromServer: 0 };
    this.connections.push(recorded);
    this.#wake();
    return {
      progress: (fromClient: number, fromServer: number) => {
        Object.assign(recorded, { fromClient, fromServer });
        this.#wake();
      },
      relabel: (change: Partial<ConnectionStart>) => {
        recorded.start = { ...recorded.start, ...change };
      },
      close: (end: ConnectionEnd) => {
        recorded.end = end;
        recorded.fromClient = end.bytesFromClient ?? recorded.fromClient;
        recorded.fromServer = end.bytesFromServer ?? recorded.fromServer;
        this.#wake();
      },
    };
  }

  earlyDeny(deny: EarlyDeny): void {
    this.denies.push(deny);
    this.#wake();
  }

  socketsOpen(reporter: Reporter, change: 1 | -1): void {
    this.sockets[reporter] += change;
  }

  clear(): void {
    this.connections.length = 0;
    this.denies.length = 0;
  }

  /** Waits until `find` returns a value. */
  async wait<Found>(find: () => Found | undefined | false, milliseconds = 20_000): Promise<Found> {
    const until = performance.now() + milliseconds;
    for (;;) {
      const found = find();
      if (found) return found;
      if (performance.now() > until) {
        const seen = JSON.stringify({
          connections: this.connections.map(({ end }) => end),
          denies: this.denies,
        });
        throw new Error(`nothing like that was recorded within ${milliseconds} ms: ${seen}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 25);
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Waits for the next closed connection of a reporter. */
  closed(reporter: Reporter): Promise<Recorded & { end: ConnectionEnd }> {
    return this.wait(() =>
      this.connections.find(
        (recorded): recorded is Recorded & { end: ConnectionEnd } =>
          recorded.start.reporter === reporter && recorded.end !== undefined,
      ),
    );
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake();
  }
}
