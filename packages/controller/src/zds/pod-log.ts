import type { Logger, PodInfo } from '@kmesh/api';

/** More than so many pods at a time are told by their number. */
const MOST_NAMED = 10;
const GATHER_MILLISECONDS = 250;

/** Tells in the log which pods are served and which no longer are: a line each, or one for all when there are many. */
export class PodLog {
  readonly #logger: Logger;
  readonly #begun = new Map<string, PodInfo>();
  readonly #ended = new Map<string, PodInfo>();
  #timer: NodeJS.Timeout | undefined;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  begins(uid: string, info: PodInfo): void {
    // Served again at once, in another namespace perhaps: nothing that anybody waits for.
    if (this.#ended.delete(uid)) return;
    this.#begun.set(uid, info);
    this.#tellLater();
  }

  ends(uid: string, info: PodInfo): void {
    if (this.#begun.delete(uid)) return;
    this.#ended.set(uid, info);
    this.#tellLater();
  }

  /** Tells what was not told yet. */
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
