import { addon, type NativeHandle } from './addon.ts';
import { systemCallError } from './errors.ts';

const readable = 1;
const writable = 2;
const ETIMEDOUT = 110;

/** Readiness of a descriptor, on the thread's own event loop. It must be closed before its descriptor is. */
export class DescriptorWatcher implements Disposable {
  readonly #handle: NativeHandle;
  #events = 0;
  #open = true;

  /**
   * Watches nothing until {@link watch}.
   *
   * @throws SystemCallError `KMESH_WATCH_FAILED`
   */
  constructor(
    fd: number,
    onReady: (events: { readable: boolean; writable: boolean; errno: number }) => void,
  ) {
    const handle = addon().watcherOpen(fd, (status, events) => {
      onReady({
        readable: status < 0 || (events & readable) !== 0,
        writable: status < 0 || (events & writable) !== 0,
        errno: status < 0 ? -status : 0,
      });
    });
    if (typeof handle === 'number') {
      throw systemCallError(-handle, 'KMESH_WATCH_FAILED', `cannot watch descriptor ${fd}`, 'poll');
    }
    this.#handle = handle;
  }

  /** Says what to wait for; both false stops. Readiness is level-triggered. */
  watch(interest: { readable: boolean; writable: boolean }): void {
    const events = (interest.readable ? readable : 0) | (interest.writable ? writable : 0);
    if (!this.#open || events === this.#events) return;
    const result = addon().watcherStart(this.#handle, events);
    if (result < 0) throw systemCallError(-result, 'KMESH_WATCH_FAILED', 'cannot watch a descriptor', 'poll');
    this.#events = events;
  }

  /** Whether watching keeps the process alive; it does by default. */
  reference(keepAlive: boolean): void {
    if (this.#open) addon().watcherReference(this.#handle, keepAlive);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    addon().watcherClose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Resolves when `fd` is ready.
 *
 * @param timeout - milliseconds until it rejects with `ETIMEDOUT`.
 * @throws SystemCallError `KMESH_WATCH_FAILED` (syscall `poll`); the signal's reason when aborted.
 */
export function watchOnce(
  fd: number,
  event: 'readable' | 'writable',
  timeout?: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const finish = () => {
      watcher.close();
      if (timer !== undefined) clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    };
    const abort = () => {
      finish();
      reject(signal?.reason);
    };
    // An error state makes the descriptor ready too; the caller reads SO_ERROR for what it was.
    const watcher = new DescriptorWatcher(fd, () => {
      finish();
      resolve();
    });
    watcher.watch({ readable: event === 'readable', writable: event === 'writable' });
    if (timeout !== undefined) {
      timer = setTimeout(() => {
        finish();
        reject(systemCallError(ETIMEDOUT, 'KMESH_WATCH_FAILED', `descriptor ${fd} is not ${event}`, 'poll'));
      }, timeout);
    }
    signal?.addEventListener('abort', abort, { once: true });
  });
}
