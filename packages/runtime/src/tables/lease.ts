import { createHash, randomInt } from 'node:crypto';
import { kmeshLeaseLayout as layout } from './gen/layouts.ts';

/** Default lease of the programs after the daemon's last renewal. */
export const DEFAULT_LEASE_MILLISECONDS = 60_000;

/** Renewals per lease duration, since some may be late. */
const RENEWALS = 6;

/** Returns the hash by which a daemon recognises the programs of its node: a cgroup may hold several emulated nodes. */
export function hashOfNode(name: string): number {
  return createHash('sha256').update(name).digest().readUInt32LE();
}

/**
 * The lease of one set of programs, and the generation of their judgements (bpf/README.md, "The lease"; bpf/lease.h).
 * Renewed until it ends; it expires when the process dies.
 */
export class Lease implements Disposable {
  readonly #memory: ArrayBuffer;
  readonly #until: BigUint64Array<ArrayBuffer>;
  readonly #generation: Uint32Array<ArrayBuffer>;
  readonly #nanoseconds: bigint;
  readonly #timer: NodeJS.Timeout;

  /** @param memory the mapped map `lease` */
  constructor(memory: ArrayBuffer, node: string, milliseconds: number) {
    this.#memory = memory;
    this.#until = new BigUint64Array(memory, layout.untilNs, 1);
    this.#generation = new Uint32Array(memory, layout.generation, 1);
    this.#nanoseconds = BigInt(milliseconds) * 1_000_000n;
    new DataView(memory).setUint32(layout.node, hashOfNode(node), true);
    // Cached judgements in a shared table outlive a daemon: those of another daemon must not match.
    Atomics.store(this.#generation, 0, randomInt(1, 2 ** 31));
    this.#extend();
    this.#timer = setInterval(() => this.#renew(), Math.max(1, milliseconds / RENEWALS));
    this.#timer.unref();
  }

  /**
   * Invalidates every earlier judgement. Call it after removing something from the tables, and before
   * the barrier that completes the change.
   */
  advance(): void {
    if (!this.#memory.detached) Atomics.add(this.#generation, 0, 1);
  }

  /** Ends the lease: from this instant on the programs decide nothing. */
  end(): void {
    clearInterval(this.#timer);
    if (!this.#memory.detached) Atomics.store(this.#until, 0, 0n);
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #renew(): void {
    // Ended by another daemon, which serves from now on.
    if (this.#memory.detached || Atomics.load(this.#until, 0) === 0n) clearInterval(this.#timer);
    else this.#extend();
  }

  #extend(): void {
    // The clock of bpf_ktime_get_coarse_ns.
    Atomics.store(this.#until, 0, process.hrtime.bigint() + this.#nanoseconds);
  }
}
