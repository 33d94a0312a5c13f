/** What a node has for all of its pods, and a pod for itself. */
export interface ShareLimits {
  /** Descriptors of the process. */
  readonly descriptors: number;
  /** Most that one pod may hold, for as long as any are free; `undefined`: as many as stay free for the others. */
  readonly perPod: number | undefined;
}

/** Kept for what is not a pod's connection: pooled connections, xDS, the admin port. */
const RESERVED_SHARE = 1 / 8;
/** A pod gets these even when nothing is free. */
const ALWAYS = 16;
/** With fewer than this there is nothing to share: new connections wait until some are free (conformance ROB-06). */
const WORTH_SHARING = 4_096;

/**
 * Shares the descriptors of the process among its pods: a pod may hold as many as are free. One that takes all it can gets
 * half, two get a third each, and always as many stay free for the others. Where an operator sets what a pod may hold, that
 * is what it may hold: pods that together take all leave nothing but the reserve.
 */
export class DescriptorShares {
  readonly #limits: ShareLimits;
  #used = 0;

  constructor(limits: ShareLimits) {
    this.#limits = limits;
  }

  /** The share of one pod; `onRefused` is called once for each time that it begins to be refused. */
  pod(onRefused: (held: number) => void): PodShare {
    return new PodShare(this, onRefused);
  }

  /** Descriptors that a pod may hold now. @param held what it holds already */
  limit(held: number): number {
    const { descriptors, perPod } = this.#limits;
    if (descriptors < WORTH_SHARING) return perPod ?? Number.POSITIVE_INFINITY;
    const free = Math.floor(descriptors * (1 - RESERVED_SHARE)) - this.#used;
    return Math.max(ALWAYS, perPod === undefined ? free : Math.min(perPod, held + free));
  }

  /** Called by the shares of the pods. */
  change(by: number): void {
    this.#used += by;
  }
}

/** What one pod holds. */
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

  /** Whether the pod may open another connection. */
  admits(): boolean {
    const limit = this.#shares.limit(this.#held);
    if (this.#held < limit) {
      // A pod at its limit goes up and down around it: that is one episode.
      if (this.#held < limit * 0.9) this.#refusing = false;
      return true;
    }
    if (!this.#refusing) this.#onRefused(this.#held);
    this.#refusing = true;
    return false;
  }

  /** Descriptors that were opened for the pod, or closed. */
  change(by: number): void {
    this.#held += by;
    this.#shares.change(by);
  }
}
