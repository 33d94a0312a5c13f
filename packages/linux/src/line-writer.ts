import { addon, type NativeHandle } from './addon.ts';
import { systemCallError } from './errors.ts';

/**
 * Writes lines to a descriptor on a native thread, in order. A slow reader blocks only that thread; a reader that has
 * gone is ignored. Does not keep the process alive and does not delay its end.
 */
export class LineWriter {
  readonly #handle: NativeHandle;

  /**
   * @param descriptor duplicated
   * @param name name of the thread, at most 15 characters
   * @throws SystemCallError `KMESH_SOCKET_FAILED` if the descriptor is not open
   */
  constructor(descriptor: number, name: string) {
    const handle = addon().writerOpen(descriptor, name);
    if (typeof handle === 'number')
      throw systemCallError(
        -handle,
        'KMESH_SOCKET_FAILED',
        `cannot write to descriptor ${descriptor}`,
        'fcntl',
      );
    this.#handle = handle;
  }

  /** Number of lines not written yet. */
  get queued(): number {
    return addon().writerQueued(this.#handle);
  }

  /** Queues text; never blocks. @param lines number of lines in `text` */
  write(text: string, lines: number): void {
    addon().writerPut(this.#handle, text, lines);
  }

  /** Blocks until everything is written, at most for this time; returns whether everything is written. */
  waitSync(milliseconds: number): boolean {
    return addon().writerWait(this.#handle, milliseconds);
  }
}
