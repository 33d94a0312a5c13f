import { addon, type NativeHandle } from './addon.ts';
import { alreadyClosed, checkResult, descriptor, integerIn, systemCallError } from './errors.ts';

const forgotten = new FinalizationRegistry<number>((fd) => addon().closeDescriptor(fd));

/**
 * A file descriptor with one owner. Closed by `close()`, by garbage collection of the owner, or at the end of the
 * thread, whichever comes first.
 */
export class OwnedDescriptor {
  readonly #what: string;
  #fd: number;

  /** Takes ownership of `fd`. `what` names the owner in errors. */
  constructor(fd: number, what: string) {
    addon().ownDescriptor(fd);
    forgotten.register(this, fd, this);
    this.#fd = fd;
    this.#what = what;
  }

  /** The descriptor's number. @throws KmeshError `KMESH_CLOSED` after close. */
  get fd(): number {
    if (this.#fd < 0) throw alreadyClosed(this.#what);
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  /** Closes the descriptor; a second call does nothing. */
  close(): void {
    const fd = this.#fd;
    if (fd < 0) return;
    this.#fd = -1;
    forgotten.unregister(this);
    addon().closeDescriptor(fd);
  }

  /** Releases ownership and returns the number; the caller must close it. */
  release(): number {
    const fd = this.fd;
    this.#fd = -1;
    forgotten.unregister(this);
    addon().disownDescriptor(fd);
    return fd;
  }
}

/** Closes a descriptor that the caller owns. @throws SystemCallError `KMESH_DESCRIPTOR_FAILED` */
export function closeDescriptor(fd: number): void {
  const result = addon().closeDescriptor(descriptor('fd', fd));
  checkResult(result, 'KMESH_DESCRIPTOR_FAILED', `cannot close descriptor ${fd}`, 'close');
}

/**
 * Returns a close-on-exec copy of a descriptor, owned by the caller. @throws SystemCallError `KMESH_DESCRIPTOR_FAILED`
 */
export function duplicateDescriptor(fd: number): number {
  const copy = addon().duplicateDescriptor(descriptor('fd', fd));
  return checkResult(
    copy,
    'KMESH_DESCRIPTOR_FAILED',
    `cannot duplicate descriptor ${fd}`,
    'fcntl(F_DUPFD_CLOEXEC)',
  );
}

/**
 * Raises RLIMIT_NOFILE towards `wanted` as far as permitted and returns the resulting limit. Node raises only the soft
 * limit; this also raises the hard one if permitted.
 *
 * @throws SystemCallError `KMESH_DESCRIPTOR_FAILED`
 */
export function raiseDescriptorLimit(wanted = 1_048_576): number {
  const limit = addon().raiseDescriptorLimit(integerIn('wanted', wanted, 1, 0x7fff_ffff));
  return checkResult(limit, 'KMESH_DESCRIPTOR_FAILED', 'cannot raise RLIMIT_NOFILE', 'setrlimit');
}

const readable = 1;
const writable = 2;
const ETIMEDOUT = 110;

/** Reports readiness of a descriptor on the thread's event loop. Must be closed before its descriptor. */
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

  /** Sets the events to wait for; both false stops. Readiness is level-triggered. */
  watch(interest: { readable: boolean; writable: boolean }): void {
    const events = (interest.readable ? readable : 0) | (interest.writable ? writable : 0);
    if (!this.#open || events === this.#events) return;
    const result = addon().watcherStart(this.#handle, events);
    if (result < 0) throw systemCallError(-result, 'KMESH_WATCH_FAILED', 'cannot watch a descriptor', 'poll');
    this.#events = events;
  }

  /** Sets whether watching keeps the process alive (default: yes). */
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
    // An error state makes the descriptor ready too; the caller reads SO_ERROR.
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
