/** Limits of descriptors per node and per pod. */
export interface ShareLimits {
  /** Descriptors of the process. */
  readonly descriptors: number;
  /** Maximum of one pod while enough are free; `undefined`: as many as stay free for the others. */
  readonly perPod: number | undefined;
}

/** Fraction reserved for other uses than pods' connections: pooled connections, xDS, the admin port. */
const RESERVED_SHARE = 1 / 8;
/** Minimum for a pod, even when nothing is free. */
const ALWAYS = 16;
/** With fewer descriptors there are no shares: new connections wait until some are free (conformance ROB-06). */
const WORTH_SHARING = 4_096;

/**
 * Shares the descriptors of the process among its pods: a pod may hold as many as are free. A single greedy pod gets
 * half, two get a third each, and the same number always stays free for the others. A limit set by the operator
 * replaces this: pods that together use all leave only the reserve.
 */
export class DescriptorShares {
  readonly #limits: ShareLimits;
  #used = 0;

  constructor(limits: ShareLimits) {
    this.#limits = limits;
  }

  /** Returns the share of one pod; `onRefused` is called once per episode of refusals. */
  pod(onRefused: (held: number) => void): PodShare {
    return new PodShare(this, onRefused);
  }

  /** Returns how many descriptors a pod may hold now. @param held how many it holds already */
  limit(held: number): number {
    const { descriptors, perPod } = this.#limits;
    if (descriptors < WORTH_SHARING) return perPod ?? Number.POSITIVE_INFINITY;
    const free = Math.floor(descriptors * (1 - RESERVED_SHARE)) - this.#used;
    return Math.max(ALWAYS, perPod === undefined ? free : Math.min(perPod, held + free));
  }

  /** Adjusts the total; called by the shares of the pods. */
  change(by: number): void {
    this.#used += by;
  }
}

/** The descriptors of one pod. */
export class PodShare {
  readonly #shares: DescriptorShares;
  readonly #onRefused: (held: number) => void;
  #held = 0;
  #refusing = false;

  constructor(shares: DescriptorShares, onRefused: (held: number) => void) {
    this.#shares = shares;
    this.#onRefused = onRefused;
  }

  get held(): number {
    return this.#held;
  }

  /** How many more it may hold. */
  get room(): number {
    return this.#shares.limit(this.#held) - this.#held;
  }

  /** Returns whether the pod may open another connection. */
  admits(): boolean {
    const limit = this.#shares.limit(this.#held);
    if (this.#held < limit) {
      // A pod at its limit fluctuates around it: that is one episode.
      if (this.#held < limit * 0.9) this.#refusing = false;
      return true;
    }
    if (!this.#refusing) this.#onRefused(this.#held);
    this.#refusing = true;
    return false;
  }

  /** Adjusts the number of descriptors opened for the pod. */
  change(by: number): void {
    this.#held += by;
    this.#shares.change(by);
  }
}
