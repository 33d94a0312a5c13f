import { flowHash, type KernelConnectionStart, type RawEndpoint, sameEndpoint } from './kernel-start.ts';

/** A server may take a while to close what its client has closed: until then a report of live flows has its side. */
const batchesKept = 8;
const reportsKept = 2;
/** Beyond so many only those of the last batches are kept. */
const mostDeparted = 16_384;
/** A client's end may be reported a moment before its handshake has ended on the server's side. */
const handshakeNanoseconds = 100_000_000;

/** Clients that have closed, of one batch. */
interface Departed {
  readonly starts: KernelConnectionStart[];
  readonly batch: number;
  readonly report: number;
}

/**
 * The client sides of this node's kernel connections, found by the two ends of a connection: so its server side learns whose
 * connection it accepted.
 */
export class LocalClients {
  /** Almost always one start per hash; the rare others are chained. */
  readonly #byHash = new Map<number, KernelConnectionStart | KernelConnectionStart[]>();
  /** Closed clients by batch, the latest last: the server side's event may come later. */
  #departed: Departed[] = [];
  #departedCount = 0;
  #batch = 0;
  #report = 0;

  add(start: KernelConnectionStart): void {
    const { hash } = start;
    const present = this.#byHash.get(hash);
    if (present === undefined) this.#byHash.set(hash, start);
    else this.#byHash.set(hash, Array.isArray(present) ? [...present, start] : [present, start]);
  }

  /**
   * The latest client with exactly these ends, of a connection that its server opened then: not one that had ended by then and
   * left its port to another.
   *
   * @param openedAt nanoseconds of CLOCK_MONOTONIC
   */
  find(client: RawEndpoint, server: RawEndpoint, openedAt: number): KernelConnectionStart | undefined {
    const present = this.#byHash.get(flowHash(client, server));
    if (present === undefined) return undefined;
    const matches = (start: KernelConnectionStart) =>
      sameEndpoint(start.client, client) &&
      sameEndpoint(start.server, server) &&
      (start.endedAt === undefined || start.endedAt + handshakeNanoseconds >= openedAt);
    if (Array.isArray(present)) return present.findLast(matches);
    return matches(present) ? present : undefined;
  }

  /**
   * The connection has closed; it is forgotten some batches and reports later.
   *
   * @param endedAt nanoseconds of CLOCK_MONOTONIC
   */
  depart(start: KernelConnectionStart, endedAt: number): void {
    start.endedAt = endedAt;
    const last = this.#departed.at(-1);
    if (last?.batch === this.#batch && last.report === this.#report) last.starts.push(start);
    else this.#departed.push({ starts: [start], batch: this.#batch, report: this.#report });
    this.#departedCount++;
  }

  /** One more batch was handled. */
  nextBatch(): void {
    this.#batch++;
    this.#forget();
  }

  /** One more report of live flows was taken. */
  nextReport(): void {
    this.#report++;
    this.#forget();
  }

  clear(): void {
    this.#byHash.clear();
    this.#departed = [];
    this.#departedCount = 0;
  }

  #forget(): void {
    for (let oldest = this.#departed[0]; oldest !== undefined; oldest = this.#departed[0]) {
      if (this.#batch - oldest.batch <= batchesKept) return;
      if (this.#report - oldest.report < reportsKept && this.#departedCount <= mostDeparted) return;
      this.#departed.shift();
      this.#departedCount -= oldest.starts.length;
      for (const start of oldest.starts) this.#remove(start);
    }
  }

  #remove(start: KernelConnectionStart): void {
    const { hash } = start;
    const present = this.#byHash.get(hash);
    if (present === start) this.#byHash.delete(hash);
    else if (Array.isArray(present)) {
      const left = present.filter((other) => other !== start);
      if (left.length === 0) this.#byHash.delete(hash);
      else this.#byHash.set(hash, left);
    }
  }
}
