import type { Logger } from '@kmesh/api';
import type { NetworkNamespace } from '@kmesh/linux';
import { hasCaptureRules } from './capture-rules.ts';

/** Between two looks at a pod that has no rules, in milliseconds. */
const AGAIN_AFTER = 5_000;

/**
 * Looks whether a pod has istio-cni's redirect rules. They are there before the CNI agent names the pod (ambient contract
 * 10.1); without them nothing but the connect hook brings the pod's connections to its proxy.
 */
export class PodCapture implements Disposable {
  /** What the first look found; not knowing is no. */
  readonly found: Promise<boolean>;
  readonly #namespace: NetworkNamespace;
  readonly #appearance = Promise.withResolvers<boolean>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param namespace must stay open until this is closed. */
  constructor(namespace: NetworkNamespace, pod: string, logger: Logger) {
    this.#namespace = namespace;
    this.found = this.#look(pod, logger);
  }

  /** Resolves when rules that were not found are there: true; or at the end: false. */
  appears(): Promise<boolean> {
    this.#lookAgain();
    return this.#appearance.promise;
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#appearance.resolve(false);
  }

  async #look(pod: string, logger: Logger): Promise<boolean> {
    const meaning = 'what it dials and cannot be handed over is refused; nothing judges what dials it';
    try {
      if (await hasCaptureRules(this.#namespace)) return true;
      if (!this.#closed) logger.warn(`a pod has no capture rules: ${meaning}`, { pod });
    } catch (error) {
      if (!this.#closed)
        logger.warn(`a pod's capture rules cannot be seen: ${meaning}`, { pod, error: String(error) });
    }
    return false;
  }

  #lookAgain(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(async () => {
      if (await hasCaptureRules(this.#namespace).catch(() => false)) this.#appearance.resolve(true);
      else this.#lookAgain();
    }, AGAIN_AFTER).unref();
  }
}
