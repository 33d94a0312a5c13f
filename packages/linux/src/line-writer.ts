import { addon, type NativeHandle } from './addon.ts';
import { systemCallError } from './errors.ts';

/**
 * Writes lines to a descriptor on a native thread, in order. A reader that is slow blocks that thread alone; one that is gone
 * is ignored. Keeps neither the process alive nor its end waiting.
 */
export class LineWriter {
  readonly #handle: NativeHandle;

  /**
   * @param descriptor duplicated
   * @param name of the thread, at most 15 characters
   * @throws SystemCallError `KMESH_SOCKET_FAILED` when the descriptor is not open
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

  /** Lines that are not written yet. */
  get queued(): number {
    return addon().writerQueued(this.#handle);
  }

  /** Never blocks. @param lines how many `text` has */
  write(text: string, lines: number): void {
    addon().writerPut(this.#handle, text, lines);
  }

  /** Blocks until everything is written, or the time is over; returns whether it is. */
  waitSync(milliseconds: number): boolean {
    return addon().writerWait(this.#handle, milliseconds);
  }
}
