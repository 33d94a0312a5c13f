import { KmeshError, type Logger, type PodInfo } from '@kmesh/api';
import type { NetworkNamespace } from '@kmesh/linux';

/** Receiver of the pods. */
export interface ZdsPods {
  servesIn(uid: string, namespace: NetworkNamespace): boolean;
  /** Starts a pod; throws if that fails. Takes ownership of `namespace` in either case. */
  addPod(uid: string, info: PodInfo, namespace: NetworkNamespace): void;
  removePod(uid: string): void;
}

/** Numbers of running and pending proxies, and totals of starts and stops. */
export interface ZdsCounts {
  readonly active: number;
  readonly pending: number;
  readonly started: number;
  readonly stopped: number;
}

interface PodRegisterOptions {
  readonly pods: ZdsPods;
  readonly logger: Logger;
  readonly retryMilliseconds: number;
  readonly onCounts: (counts: ZdsCounts) => void;
  /** Called after pending pods were retried. */
  readonly onRetried: () => void;
}

interface Pending {
  readonly info: PodInfo;
  /** `undefined` if the agent sent an unusable descriptor: only a new one from the agent can help. */
  readonly namespace: NetworkNamespace | undefined;
}

/** Tracks running pods and pods that failed to start; retries the latter until they are forgotten. */
export class PodRegister {
  readonly #options: PodRegisterOptions;
  readonly #running = new Map<string, PodInfo>();
  readonly #log: PodLog;
  readonly #pending = new Map<string, Pending>();
  #timer: NodeJS.Timeout | undefined;
  #started = 0;
  #stopped = 0;
  #closed = false;

  constructor(options: PodRegisterOptions) {
    this.#options = options;
    this.#log = new PodLog(options.logger);
  }

  get active(): number {
    return this.#running.size;
  }

  get pending(): number {
    return this.#pending.size;
  }

  /**
   * Number of pending pods that a retry can start. Readiness waits for these, but not for a pod whose namespace is
   * gone: it will never start, and must not block the node's update.
   */
  get starting(): number {
    let count = 0;
    for (const { namespace } of this.#pending.values()) if (namespace !== undefined) count += 1;
    return count;
  }

  /** Number of pods without a usable namespace. */
  get unusable(): number {
    return this.pending - this.starting;
  }

  /** Returns the pods that failed to start and wait for the next attempt. */
  pendingPods(): (PodInfo & { readonly uid: string })[] {
    return [...this.#pending].map(([uid, { info }]) => ({ uid, ...info }));
  }

  /**
   * Starts a pod; does nothing if it runs in the same namespace, replaces it if it runs in another one. Takes ownership
   * of `namespace`. Returns the error text if it fails; the pod is then pending.
   */
  add(uid: string, info: PodInfo, namespace: NetworkNamespace): string | undefined {
    this.forgetPending(uid);
    if (this.#running.has(uid) && this.#options.pods.servesIn(uid, namespace)) {
      namespace.close();
      return undefined;
    }
    return this.#start(uid, info, namespace);
  }

  /**
   * Records a pod whose descriptor is not a network namespace. A running pod stays in its present namespace. Returns
   * the error text.
   */
  addUnusable(uid: string, info: PodInfo, error: Error): string {
    if (this.#running.has(uid)) return describe(uid, info, error);
    this.forgetPending(uid);
    return this.#postpone(uid, info, undefined, error);
  }

  /** Stops a pod at once; ignores unknown uids. */
  stop(uid: string): void {
    const info = this.#running.get(uid);
    if (info === undefined) return;
    this.#running.delete(uid);
    this.#options.pods.removePod(uid);
    this.#log.ends(uid, info);
    this.#stopped += 1;
    this.#count();
  }

  /** Stops every running pod that is not in `named`. */
  keepOnly(named: ReadonlySet<string>): void {
    for (const uid of [...this.#running.keys()]) if (!named.has(uid)) this.stop(uid);
  }

  forgetPending(uid: string): void {
    const pending = this.#pending.get(uid);
    if (pending === undefined) return;
    pending.namespace?.close();
    this.#pending.delete(uid);
    this.#count();
  }

  dropPending(): void {
    for (const uid of [...this.#pending.keys()]) this.forgetPending(uid);
  }

  /** Forgets pending pods; running pods keep running. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#log.close();
    this.dropPending();
  }

  #start(uid: string, info: PodInfo, namespace: NetworkNamespace): string | undefined {
    this.stop(uid);
    // Their listeners would share a port, and each would accept connections of the other under its own identity.
    const other = this.#servedIn(namespace);
    if (other !== undefined) {
      const message = `its network namespace is that of the pod with uid ${other}, which is served in it`;
      return this.#postpone(uid, info, namespace, new KmeshError('KMESH_POD_NAMESPACE_TAKEN', message));
    }
    // For a retry: the proxy takes ownership of its descriptor even if it fails to start.
    let spare: NetworkNamespace;
    try {
      spare = namespace.duplicate();
    } catch (error) {
      return this.#postpone(uid, info, namespace, error as Error);
    }
    try {
      this.#options.pods.addPod(uid, info, namespace);
    } catch (error) {
      return this.#postpone(uid, info, spare, error as Error);
    }
    spare.close();
    this.#running.set(uid, info);
    this.#log.begins(uid, info);
    this.#started += 1;
    this.#count();
    return undefined;
  }

  #servedIn(namespace: NetworkNamespace): string | undefined {
    for (const uid of this.#running.keys()) if (this.#options.pods.servesIn(uid, namespace)) return uid;
    return undefined;
  }

  #postpone(uid: string, info: PodInfo, namespace: NetworkNamespace | undefined, error: Error): string {
    this.#pending.set(uid, { info, namespace });
    if (namespace !== undefined) this.#retryLater();
    this.#count();
    return describe(uid, info, error);
  }

  #retryLater(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      for (const [uid, { info, namespace }] of [...this.#pending]) {
        if (namespace === undefined) continue;
        this.#pending.delete(uid);
        const failure = this.#start(uid, info, namespace);
        if (failure !== undefined)
          this.#options.logger.warn('a pod still cannot be served', { error: failure });
      }
      this.#options.onRetried();
    }, this.#options.retryMilliseconds);
  }

  #count(): void {
    this.#options.onCounts({
      active: this.active,
      pending: this.pending,
      started: this.#started,
      stopped: this.#stopped,
    });
  }
}

function describe(uid: string, info: PodInfo, error: Error): string {
  return `pod ${info.namespace}/${info.name} (uid ${uid}): ${error.message}`;
}

/** Above this number of pods at a time only their count is logged. */
const MOST_NAMED = 10;
const GATHER_MILLISECONDS = 250;

/** Logs pods that start or stop being served: one line each, or only their number if there are many. */
export class PodLog {
  readonly #logger: Logger;
  readonly #begun = new Map<string, PodInfo>();
  readonly #ended = new Map<string, PodInfo>();
  #timer: NodeJS.Timeout | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  begins(uid: string, info: PodInfo): void {
    // Served again at once, possibly in another namespace: nothing to report.
    if (this.#ended.delete(uid)) return;
    this.#begun.set(uid, info);
    this.#tellLater();
  }

  ends(uid: string, info: PodInfo): void {
    if (this.#begun.delete(uid)) return;
    this.#ended.set(uid, info);
    this.#tellLater();
  }

  /** Logs pending lines. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#tell(this.#begun, 'a pod is served', 'pods are served');
    this.#tell(this.#ended, 'a pod is no longer served', 'pods are no longer served');
  }

  #tellLater(): void {
    this.#timer ??= setTimeout(() => this.close(), GATHER_MILLISECONDS).unref();
  }

  #tell(pods: Map<string, PodInfo>, one: string, many: string): void {
    if (pods.size > MOST_NAMED) this.#logger.info(many, { pods: pods.size });
    else
      for (const { namespace, name } of pods.values())
        this.#logger.info(one, { pod: `${namespace}/${name}` });
    pods.clear();
  }
}
