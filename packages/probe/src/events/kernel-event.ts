import { kmeshDirection, kmeshEventLayout as layout } from '@kmesh/orchestration';
import { addressText, portAt } from './address-text.ts';

const addressBytes = 16;

/**
 * Reads `struct kmesh_event` records in place: one reader moves over a whole batch, so that a record costs no object. What
 * it returns as text or number may be kept; the reader itself may not.
 */
export class KernelEventReader {
  readonly #bytes: Buffer;
  readonly #words: Uint32Array;
  readonly #count: number;
  #offset = -layout.size;

  /** @param bytes little-endian records of `kmeshEventLayout.size` bytes each */
  constructor(bytes: Uint8Array, count: number) {
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
    this.#bytes = Buffer.from(aligned.buffer, aligned.byteOffset, aligned.byteLength);
    this.#words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
    this.#count = Math.min(count, Math.floor(bytes.byteLength / layout.size));
  }

  /** Moves to the next record. */
  next(): boolean {
    this.#offset += layout.size;
    return this.#offset < this.#count * layout.size;
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
  get localPort(): number {
    return portAt(this.#bytes, this.#offset + layout.localPortBe);
  }
  get remotePort(): number {
    return portAt(this.#bytes, this.#offset + layout.remotePortBe);
  }
  get localAddress(): string {
    return addressText(this.#bytes, this.#offset + layout.local);
  }
  get remoteAddress(): string {
    return addressText(this.#bytes, this.#offset + layout.remote);
  }

  /** The connection as its client names it: client address, server address, both ports; the same from both sides. */
  get flowKey(): string {
    const at = this.#offset;
    const local = this.#bytes.toString('latin1', at + layout.local, at + layout.local + addressBytes);
    const remote = this.#bytes.toString('latin1', at + layout.remote, at + layout.remote + addressBytes);
    return this.outbound
      ? `${local}${remote}${this.localPort}:${this.remotePort}`
      : `${remote}${local}${this.remotePort}:${this.localPort}`;
  }

  #word(field: number): number {
    return this.#words[(this.#offset + field) >> 2] as number;
  }

  /** 64 bits as a number; the values here stay below 2^53. */
  #wide(field: number): number {
    const index = (this.#offset + field) >> 2;
    return (this.#words[index] as number) + (this.#words[index + 1] as number) * 4_294_967_296;
  }
}
