/** The pod that a log line belongs to. */
export interface LogOwner {
  readonly namespace: string;
  readonly name: string;
}

interface LogSharesOptions {
  /** Sustained rate of lines per pod. */
  readonly linesPerSecond: number;
  /** Called once a second with the lines suppressed since, and when an episode ends. */
  readonly onSuppressed: (owner: LogOwner, lines: number) => void;
  /** Called once when suppression of a pod's lines begins, and once when it ends. */
  readonly onEpisode: (owner: LogOwner, suppressed: number | undefined) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

interface Bucket {
  readonly owner: LogOwner;
  lines: number;
  filledAt: number;
  /** Lines suppressed in the current episode; `undefined` outside an episode. */
  suppressed: number | undefined;
  /** Of these, lines that were not passed to `onSuppressed` yet. */
  unreported: number;
}

/** Burst after a quiet time, as seconds of the sustained rate. */
const BURST_SECONDS = 10;
/** Number of remembered pods above which quiet ones are forgotten. */
const REMEMBERED = 1_024;
/** Interval of checks whether suppression has ended. */
const LOOK_MILLISECONDS = 1_000;

/** Shared by all connections whose pod is unknown to the mesh. */
const unknown: LogOwner = { namespace: '', name: 'unknown' };

/** Limits each pod's share of the access log, so that a pod with very many connections cannot fill it. */
export class LogShares {
  readonly #options: LogSharesOptions;
  readonly #now: () => number;
  readonly #burst: number;
  readonly #buckets = new Map<string, Bucket>();
  /** The same by the object that names the owner, so that no key is built per line. */
  #known = new WeakMap<LogOwner, Bucket>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LogSharesOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#burst = options.linesPerSecond * BURST_SECONDS;
  }

  /** Returns whether a line of this pod is written, and charges its share. */
  admits(owner: LogOwner = unknown): boolean {
    const bucket = this.#bucketOf(owner);
    this.#fill(bucket);
    if (bucket.lines >= 1) {
      bucket.lines -= 1;
      return true;
    }
    if (bucket.suppressed === undefined) {
      bucket.suppressed = 0;
      this.#options.onEpisode(bucket.owner, undefined);
      this.#timer ??= setInterval(() => this.endEpisodes(), LOOK_MILLISECONDS).unref();
    }
    bucket.suppressed += 1;
    bucket.unreported += 1;
    return false;
  }

  /** Ends the episodes of pods that have half of their burst available again. */
  endEpisodes(): void {
    let running = false;
    for (const bucket of this.#buckets.values()) {
      if (bucket.suppressed === undefined) continue;
      if (bucket.unreported > 0) this.#options.onSuppressed(bucket.owner, bucket.unreported);
      bucket.unreported = 0;
      this.#fill(bucket);
      if (bucket.lines < this.#burst / 2) {
        running = true;
        continue;
      }
      this.#options.onEpisode(bucket.owner, bucket.suppressed);
      bucket.suppressed = undefined;
    }
    if (running) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #bucketOf(owner: LogOwner): Bucket {
    const known = this.#known.get(owner);
    if (known !== undefined) return known;
    const { namespace, name } = owner;
    const key = `${namespace}/${name}`;
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= REMEMBERED) this.#forgetQuiet();
      bucket = {
        owner: { namespace, name },
        lines: this.#burst,
        filledAt: this.#now(),
        suppressed: undefined,
        unreported: 0,
      };
      this.#buckets.set(key, bucket);
    }
    this.#known.set(owner, bucket);
    return bucket;
  }

  #forgetQuiet(): void {
    for (const [key, bucket] of this.#buckets) {
      this.#fill(bucket);
      if (bucket.lines >= this.#burst && bucket.suppressed === undefined) this.#buckets.delete(key);
    }
    this.#known = new WeakMap();
  }

  #fill(bucket: Bucket): void {
    const now = this.#now();
    const more = ((now - bucket.filledAt) * this.#options.linesPerSecond) / 1_000;
    bucket.lines = Math.min(this.#burst, bucket.lines + more);
    bucket.filledAt = now;
  }
}
