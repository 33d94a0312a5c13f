import { kmeshDirection, kmeshEventLayout as layout } from '../tables/gen/layouts.ts';
import type { RawEndpoint } from './kernel-start.ts';

/**
 * Reads `struct kmesh_event` records in place: one reader moves over a whole batch, so that a record costs no object. What
 * it returns as text or number may be kept; the reader itself may not.
 */
export class KernelEventReader {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #count: number;
  #offset = -layout.size;

  /** @param bytes little-endian records of `kmeshEventLayout.size` bytes each */
  constructor(bytes: Uint8Array, count: number) {
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
    this.#bytes = aligned;
    this.#words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
    this.#count = Math.min(count, Math.floor(bytes.byteLength / layout.size));
  }

  /** Moves to the next record. */
  next(): boolean {
    this.#offset += layout.size;
    return this.#offset < this.#count * layout.size;
  }

  /** Moves to a record; `next` goes on after it. */
  seek(index: number): void {
    this.#offset = index * layout.size;
  }

  get kind(): number {
    return this.#bytes[this.#offset + layout.kind] as number;
  }
  get path(): number {
    return this.#bytes[this.#offset + layout.path] as number;
  }
  get closeReason(): number {
    return this.#bytes[this.#offset + layout.closeReason] as number;
  }
  get outbound(): boolean {
    return this.#bytes[this.#offset + layout.direction] === kmeshDirection.outbound;
  }
  get netnsCookie(): number {
    return this.#wide(layout.netnsCookie);
  }
  get socketCookie(): number {
    return this.#wide(layout.socketCookie);
  }
  /** Nanoseconds of CLOCK_MONOTONIC. */
  get timeNanoseconds(): number {
    return this.#wide(layout.timeNs);
  }
  get durationNanoseconds(): number {
    return this.#wide(layout.durationNs);
  }
  get bytesSent(): number {
    return this.#wide(layout.bytesSent);
  }
  get bytesReceived(): number {
    return this.#wide(layout.bytesReceived);
  }
  get service(): number {
    return this.#word(layout.service);
  }
  get workload(): number {
    return this.#word(layout.workload);
  }
  /** The wire opened the connection: both ends are who they seem to be. */
  get attested(): boolean {
    return this.#word(layout.attested) !== 0;
  }
  /** Id of an attested client's identity, of the server's side; else 0. */
  get peerIdentity(): number {
    return this.#word(layout.peerIdentity);
  }
  get smoothedRoundTripMicroseconds(): number {
    return this.#word(layout.srttUs);
  }
  get minimalRoundTripMicroseconds(): number {
    const microseconds = this.#word(layout.minRttUs);
    // The kernel's "never measured" is all ones.
    return microseconds === 0xffff_ffff ? 0 : microseconds;
  }
  get retransmissions(): number {
    return this.#word(layout.retransmissions);
  }
  /** What the application asked for. */
  get dialled(): RawEndpoint {
    return this.#endpoint(layout.dialled, layout.dialledPortBe);
  }
  /** The socket's own end. */
  get local(): RawEndpoint {
    return this.#endpoint(layout.local, layout.localPortBe);
  }
  /** The other end. */
  get remote(): RawEndpoint {
    return this.#endpoint(layout.remote, layout.remotePortBe);
  }

  #endpoint(address: number, port: number): RawEndpoint {
    const words = this.#words;
    const index = (this.#offset + address) >> 2;
    const at = this.#offset + port;
    return {
      word0: words[index] as number,
      word1: words[index + 1] as number,
      word2: words[index + 2] as number,
      word3: words[index + 3] as number,
      port: ((this.#bytes[at] as number) << 8) | (this.#bytes[at + 1] as number),
    };
  }

  #word(field: number): number {
    return (this.#words[(this.#offset + field) >> 2] as number) >>> 0;
  }

  /** 64 bits as a number; the values here stay below 2^53. */
  #wide(field: number): number {
    const index = (this.#offset + field) >> 2;
    return (
      ((this.#words[index] as number) >>> 0) + ((this.#words[index + 1] as number) >>> 0) * 4_294_967_296
    );
  }
}
