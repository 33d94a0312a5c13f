import { createHash, randomInt } from 'node:crypto';
import { kmeshLeaseLayout as layout } from './gen/layouts.ts';

/** How long the programs may decide when the daemon is gone, unless it is set. */
export const DEFAULT_LEASE_MILLISECONDS = 60_000;

/** Renewals in the time of one lease: some may be late. */
const RENEWALS = 6;

/** By which a daemon knows the programs of its node: a cgroup may hold several nodes where these are no machines. */
export function hashOfNode(name: string): number {
  return createHash('sha256').update(name).digest().readUInt32LE();
}

/**
 * The lease of one set of programs, and the generation of what they decide by (bpf/README.md, "The lease"; bpf/lease.h). It is renewed until
 * it ends; when the process dies it runs out.
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
    // Judgements outlive a daemon in a shared table: those of another one are made anew.
    Atomics.store(this.#generation, 0, randomInt(1, 2 ** 31));
    this.#extend();
    this.#timer = setInterval(() => this.#renew(), Math.max(1, milliseconds / RENEWALS));
    this.#timer.unref();
  }

  /**
   * Makes every judgement of before count no more. To be called after something was taken out of the tables, and before
   * the barrier with which the change counts as made.
   */
  advance(): void {
    if (!this.#memory.detached) Atomics.add(this.#generation, 0, 1);
  }

  /** From this instant on the programs decide nothing. */
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
