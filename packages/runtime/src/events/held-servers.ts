import type { CountedBytes } from '@kmesh/probe';

/** The end of an accepted connection that came before anything of its client's side. */
export interface HeldServer {
  /** One record. */
  readonly record: Uint8Array;
  /** What an earlier daemon had counted of it when its end came. */
  readonly earlier: CountedBytes | undefined;
  /** Of both ends, see `flowHash`. */
  readonly hash: number;
  /** Milliseconds of the clock. */
  readonly heldAt: number;
}

/**
 * Of a connection with two ends on this node both are heard of, the client's mostly in the same batch, and that of one which
 * stays open by a report of live flows. What a pod's proxy dialled for it has no client's side in the kernel: its record is late
 * by this time, which is therefore short.
 */
const mostHeldMilliseconds = 2000;
/** Records that are kept; beyond them the oldest waits no longer. */
const mostHeld = 4096;

/**
 * Accepted connections that have ended, until their client's side is heard of: it says which service was dialled and whose
 * connection it was. None is lost: those whose client does not come are handed back after a while. Constant work per record.
 */
export class HeldServers {
  readonly #byHash = new Map<number, HeldServer[]>();
  /** Oldest first. */
  readonly #order = new Set<HeldServer>();

  /** Keeps a record; returns what has to go for it. */
  hold(server: HeldServer): HeldServer | undefined {
    const alike = this.#byHash.get(server.hash);
    if (alike === undefined) this.#byHash.set(server.hash, [server]);
    else alike.push(server);
    this.#order.add(server);
    if (this.#order.size <= mostHeld) return undefined;
    const [oldest] = this.#order;
    if (oldest !== undefined) this.#remove(oldest);
    return oldest;
  }

  /** Takes what waits for a client with this hash; ends of other connections may be among them. */
  takeAlike(hash: number): readonly HeldServer[] {
    const alike = this.#byHash.get(hash);
    if (alike === undefined) return [];
    this.#byHash.delete(hash);
    for (const server of alike) this.#order.delete(server);
    return alike;
  }

  /** Milliseconds until {@link HeldServers.takeOverdue} has the next; `undefined` when nothing waits. */
  overdueIn(now: number): number | undefined {
    const [oldest] = this.#order;
    return oldest && Math.max(0, oldest.heldAt + mostHeldMilliseconds - now);
  }

  /** Takes what has waited for long enough; everything without a time. */
  takeOverdue(now = Number.POSITIVE_INFINITY): readonly HeldServer[] {
    const overdue: HeldServer[] = [];
    for (const server of this.#order) {
      if (now - server.heldAt < mostHeldMilliseconds) break;
      overdue.push(server);
    }
    for (const server of overdue) this.#remove(server);
    return overdue;
  }

  #remove(server: HeldServer): void {
    this.#order.delete(server);
    const left = this.#byHash.get(server.hash)?.filter((other) => other !== server) ?? [];
    if (left.length === 0) this.#byHash.delete(server.hash);
    else this.#byHash.set(server.hash, left);
  }
}
