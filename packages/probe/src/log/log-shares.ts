/** Whose line it is. */
export interface LogOwner {
  readonly namespace: string;
  readonly name: string;
}

interface LogSharesOptions {
  /** Lines that one pod may write a second, for as long as it likes. */
  readonly linesPerSecond: number;
  /** Called for each line that is left out. */
  readonly onSuppressed: (owner: LogOwner) => void;
  /** Called once for each time that a pod's lines begin to be left out, and once when they no longer are. */
  readonly onEpisode: (owner: LogOwner, suppressed: number | undefined) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

interface Bucket {
  readonly owner: LogOwner;
  lines: number;
  filledAt: number;
  /** Lines left out in the episode that runs; `undefined` while none does. */
  suppressed: number | undefined;
}

/** Seconds' worth of lines that a pod may write at once after it was quiet. */
const BURST_SECONDS = 10;
/** More pods than this, and those that are quiet are forgotten. */
const REMEMBERED = 1_024;
/** How often it is looked whether a pod's lines are written again. */
const LOOK_MILLISECONDS = 1_000;

/** Of connections whose pod the mesh does not know: one share for all of them. */
const unknown: LogOwner = { namespace: '', name: 'unknown' };

/** Shares the access log among pods: one that makes connections without end takes neither the log's room nor its reader's. */
export class LogShares {
  readonly #options: LogSharesOptions;
  readonly #now: () => number;
  readonly #burst: number;
  readonly #buckets = new Map<string, Bucket>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LogSharesOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#burst = options.linesPerSecond * BURST_SECONDS;
  }

  /** Whether a line of this pod is written; takes it from its share. */
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
    this.#options.onSuppressed(bucket.owner);
    return false;
  }

  /** Ends the episodes of pods that have half of what they may write at once again. */
  endEpisodes(): void {
    let running = false;
    for (const bucket of this.#buckets.values()) {
      if (bucket.suppressed === undefined) continue;
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

  #bucketOf({ namespace, name }: LogOwner): Bucket {
    const key = `${namespace}/${name}`;
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= REMEMBERED) this.#forgetQuiet();
      bucket = {
        owner: { namespace, name },
        lines: this.#burst,
        filledAt: this.#now(),
        suppressed: undefined,
      };
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  #forgetQuiet(): void {
    for (const [key, bucket] of this.#buckets) {
      this.#fill(bucket);
      if (bucket.lines >= this.#burst && bucket.suppressed === undefined) this.#buckets.delete(key);
    }
  }

  #fill(bucket: Bucket): void {
    const now = this.#now();
    const more = ((now - bucket.filledAt) * this.#options.linesPerSecond) / 1_000;
    bucket.lines = Math.min(this.#burst, bucket.lines + more);
    bucket.filledAt = now;
  }
}
