import { xds } from '@kmesh/api';
import type { Slicer } from '@kmesh/orchestration';

/** A response is cut down each time that this much of it has been read. */
const shrinkBytes = 8 * 1024 * 1024;
const copiedAtOnce = 512 * 1024;

/**
 * The resources of a response, and of its bytes only those that are still needed: while a push of 40 MB turns into mesh
 * records, its own memory goes, so that the two are never there in full at the same time.
 */
export class UnreadResources {
  #bytes: Buffer;
  readonly #resources: xds.ResponseResources;
  readonly #slicer: Slicer;

  constructor(bytes: Buffer, slicer: Slicer) {
    this.#bytes = bytes;
    this.#resources = new xds.ResponseResources(bytes);
    this.#slicer = slicer;
  }

  next(): xds.RawResource | undefined {
    return this.#resources.next();
  }

  /** Whether enough has been read for {@link shrink} to pay. */
  get shrinkIsDue(): boolean {
    return this.#resources.position >= shrinkBytes;
  }

  /** Moves what is unread to memory of its own, in slices, and gives the old memory back at once. */
  async shrink(): Promise<void> {
    const unread = this.#bytes.subarray(this.#resources.position);
    const rest = Buffer.allocUnsafeSlow(unread.length);
    for (let at = 0; at < unread.length; at += copiedAtOnce) {
      unread.copy(rest, at, at, at + copiedAtOnce);
      if (this.#slicer.due) await this.#slicer.pause();
    }
    this.#resources.continueIn(rest);
    // Left to the collector it would stay for the rest of the push.
    if (this.#bytes.buffer instanceof ArrayBuffer) this.#bytes.buffer.transfer(0);
    this.#bytes = rest;
  }
}
