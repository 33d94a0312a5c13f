/** RealTime: a connection waits; Warmup: a connection may follow; Background: renewal of a valid certificate. */
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

  /** Queues a job; `run` must not reject. If a job of the same key is still waiting, raises its priority instead. */
  add(key: string, priority: CertificatePriority, run: () => Promise<void>): void {
    if (!this.raise(key, priority)) this.#waiting.push({ key, priority, run });
    this.#start();
  }

  /** Raises a waiting job to at least this priority. Returns whether there was one. */
  raise(key: string, priority: CertificatePriority): boolean {
    const job = this.#waiting.find((candidate) => candidate.key === key);
    if (job === undefined) return false;
    if (rank[priority] < rank[job.priority]) job.priority = priority;
    return true;
  }

  /** Removes a waiting job from the queue. */
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
