/** RealTime: a connection waits; Warmup: one may come; Background: renewal of what still works. */
export type CertificatePriority = 'RealTime' | 'Warmup' | 'Background';

const rank: Readonly<Record<CertificatePriority, number>> = { RealTime: 0, Warmup: 1, Background: 2 };

interface Waiting {
  readonly key: string;
  readonly run: () => Promise<void>;
  priority: CertificatePriority;
}

/** Runs at most `limit` jobs at once, the most urgent first, in order of arrival among equals. */
export class RequestQueue {
  readonly #limit: number;
  readonly #waiting: Waiting[] = [];
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** `run` must not reject. A job of the same key that still waits is raised instead of queued again. */
  add(key: string, priority: CertificatePriority, run: () => Promise<void>): void {
    if (!this.raise(key, priority)) this.#waiting.push({ key, priority, run });
    this.#start();
  }

  /** Makes a waiting job at least this urgent. Whether there was one. */
  raise(key: string, priority: CertificatePriority): boolean {
    const job = this.#waiting.find((candidate) => candidate.key === key);
    if (job === undefined) return false;
    if (rank[priority] < rank[job.priority]) job.priority = priority;
    return true;
  }

  /** Takes a waiting job out of the queue. */
  remove(key: string): void {
    const index = this.#waiting.findIndex((candidate) => candidate.key === key);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  #start(): void {
    while (this.#running < this.#limit) {
      let next = 0;
      for (const [index, job] of this.#waiting.entries()) {
        if (rank[job.priority] < rank[this.#waiting[next]?.priority ?? 'Background']) next = index;
      }
      const [job] = this.#waiting.splice(next, 1);
      if (job === undefined) return;
      this.#running += 1;
      void job.run().finally(() => {
        this.#running -= 1;
        this.#start();
      });
    }
  }
}
