import type { Logger } from '@kmesh/api';
import type { NetworkNamespace } from '@kmesh/runtime';

/** Who a pod is, as the CNI agent says. */
export interface PodInfo {
  /** Kubernetes pod UID. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** What serves pods. Calls for one pod never overlap. */
export interface PodHandler {
  /**
   * Begins to serve a pod; rejects with a reason when it cannot, and then has left nothing behind. The namespace is
   * the caller's and stays open until after `stop`.
   */
  start(pod: PodInfo, namespace: NetworkNamespace): Promise<void>;
  /** Ceases to serve it at once; its connections are cut (ambient contract 2.7). */
  stop(uid: string): Promise<void>;
}

/** How many pods are in which state, and what changed; for metrics and readiness. */
export interface PodEvents {
  changed(active: number, pending: number): void;
  started(): void;
  stopped(): void;
}

interface PodEntry {
  readonly pod: PodInfo;
  readonly namespace: NetworkNamespace;
  state: 'Up' | 'Pending';
}

const retryMilliseconds = 5_000;

/**
 * The pods that this proxy serves or waits to serve. A start that failed is tried again every 5 s until it works or
 * the pod goes (ambient contract 10.3). Owns the namespace descriptors.
 */
export class Pods {
  readonly #handler: PodHandler;
  readonly #events: PodEvents;
  readonly #logger: Logger;
  readonly #retryMilliseconds: number;
  readonly #entries = new Map<string, PodEntry>();
  #queue: Promise<unknown> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;

  constructor(handler: PodHandler, events: PodEvents, logger: Logger, retryAfter = retryMilliseconds) {
    this.#handler = handler;
    this.#events = events;
    this.#logger = logger;
    this.#retryMilliseconds = retryAfter;
  }

  /** Uids of all pods, served or pending. */
  uids(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** Every pod with its state, for the config dump. */
  list(): readonly { readonly pod: PodInfo; readonly state: 'Up' | 'Pending' }[] {
    return [...this.#entries.values()].map(({ pod, state }) => ({ pod, state }));
  }

  get pendingCount(): number {
    return [...this.#entries.values()].filter((entry) => entry.state === 'Pending').length;
  }

  /**
   * Serves a pod. Nothing happens when it is served in the same namespace already; in another one it is replaced.
   * Takes over `namespace`. Rejects when starting failed; the pod is then pending.
   */
  add(pod: PodInfo, namespace: NetworkNamespace): Promise<void> {
    return this.#serially(async () => {
      const known = this.#entries.get(pod.uid);
      if (known?.state === 'Up' && known.namespace.sameAs(namespace)) {
        namespace.close();
        return;
      }
      if (known !== undefined) await this.#drop(known);
      const entry: PodEntry = { pod, namespace, state: 'Pending' };
      this.#entries.set(pod.uid, entry);
      await this.#start(entry);
    });
  }

  /** Ceases to serve a pod; one that is not known is fine. */
  remove(uid: string): Promise<void> {
    return this.#serially(async () => {
      const entry = this.#entries.get(uid);
      if (entry !== undefined) await this.#drop(entry);
      this.#report();
    });
  }

  /** Ends the retries and, when asked, stops every pod. */
  async close(stopAll: boolean): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    await this.#serially(async () => {
      for (const entry of [...this.#entries.values()]) {
        if (stopAll) await this.#drop(entry);
        else entry.namespace.close();
      }
    });
  }

  #serially(action: () => Promise<void>): Promise<void> {
    const done = this.#queue.then(action);
    this.#queue = done.catch(() => undefined);
    return done;
  }

  async #start(entry: PodEntry): Promise<void> {
    try {
      await this.#handler.start(entry.pod, entry.namespace);
      entry.state = 'Up';
      this.#events.started();
    } catch (error) {
      this.#scheduleRetry();
      throw error;
    } finally {
      this.#report();
    }
  }

  async #drop(entry: PodEntry): Promise<void> {
    this.#entries.delete(entry.pod.uid);
    try {
      if (entry.state === 'Up') {
        await this.#handler.stop(entry.pod.uid);
        this.#events.stopped();
      }
    } finally {
      entry.namespace.close();
      this.#report();
    }
  }

  #scheduleRetry(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      void this.#serially(() => this.#retryPending());
    }, this.#retryMilliseconds);
  }

  async #retryPending(): Promise<void> {
    for (const entry of [...this.#entries.values()]) {
      if (entry.state !== 'Pending') continue;
      try {
        await this.#start(entry);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#logger.warn('a pod still cannot be served', {
          pod: `${entry.pod.namespace}/${entry.pod.name}`,
          error: reason,
          next: `${this.#retryMilliseconds / 1000}s`,
        });
      }
    }
  }

  #report(): void {
    const pending = this.pendingCount;
    this.#events.changed(this.#entries.size - pending, pending);
  }
}
