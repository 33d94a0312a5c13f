import { KmeshError } from '@kmesh/api';
import { addon } from './addon.ts';
import { checkResult, descriptor, integerIn, systemCallError } from './errors.ts';
import type { NetworkNamespace } from './network-namespace.ts';

const payloadOffset = 40;
const tooLong = 0xffff_ffff;
const maximumSlots = 64;

/**
 * Memory for datagrams that are received and sent in batches of up to 64, with one system call each. To answer, write
 * payload and length into a slot of another batch and copy the address with {@link DatagramBatch.addressFrom}.
 */
export class DatagramBatch {
  readonly slots: number;
  /** The memory of all payloads: slot i has {@link DatagramBatch.payloadBytes} bytes at `offset(i)`. */
  readonly memory: Buffer;
  readonly payloadBytes: number;
  readonly #slotBytes: number;

  /** @throws KmeshError `KMESH_ADDON_BROKEN` if the addon has a different layout of slots */
  constructor(slots: number, payloadBytes: number) {
    if (addon().datagramPayloadOffset() !== payloadOffset) {
      const message = 'the addon does not match these sources: run scripts/build-addon.sh';
      throw new KmeshError('KMESH_ADDON_BROKEN', message);
    }
    this.slots = integerIn('slots', slots, 1, maximumSlots);
    this.payloadBytes = integerIn('payloadBytes', payloadBytes, 8, 65_536);
    // Addresses and lengths are aligned in every slot.
    this.#slotBytes = Math.ceil((payloadOffset + payloadBytes) / 8) * 8;
    this.memory = Buffer.alloc(this.#slotBytes * slots);
  }

  /** Returns the offset of a slot's payload. */
  offset(slot: number): number {
    return slot * this.#slotBytes + payloadOffset;
  }

  /** Returns the length of a received payload; -1 if it did not fit. */
  length(slot: number): number {
    const length = this.memory.readUInt32LE(slot * this.#slotBytes);
    return length === tooLong ? -1 : length;
  }

  setLength(slot: number, length: number): void {
    this.memory.writeUInt32LE(length, slot * this.#slotBytes);
  }

  /** Returns the port of a slot's address. */
  port(slot: number): number {
    return this.memory.readUInt16BE(slot * this.#slotBytes + 10);
  }

  /** Returns a copy of a slot's address, which stays valid after the next batch. */
  address(slot: number): Uint8Array {
    const start = slot * this.#slotBytes;
    return new Uint8Array(this.memory.subarray(start + 4, start + payloadOffset));
  }

  setAddress(slot: number, address: Uint8Array): void {
    this.memory.set(address, slot * this.#slotBytes + 4);
  }

  addressFrom(slot: number, other: DatagramBatch, otherSlot: number): void {
    const start = otherSlot * other.#slotBytes;
    other.memory.copy(this.memory, slot * this.#slotBytes + 4, start + 4, start + payloadOffset);
  }

  /** Receives pending datagrams, at most a full batch; returns 0 if there are none or the socket reports an error. */
  receive(fd: number): number {
    return Math.max(0, addon().datagramsReceive(fd, this.memory, this.#slotBytes, this.slots));
  }

  /** Sends the first `count` slots and returns how many the kernel accepted; the others are lost. */
  send(fd: number, count: number): number {
    return addon().datagramsSend(fd, this.memory, this.#slotBytes, count);
  }
}

/** A datagram to one address, from a dedicated socket. */
interface RequestDatagramOptions {
  /** Default: the process's own. */
  readonly namespace?: NetworkNamespace | undefined;
  readonly address: string;
  readonly port: number;
  /** SO_MARK, 1 to 2^32-1. */
  readonly mark?: number | undefined;
  readonly payload: Uint8Array;
}

/**
 * Sends a datagram from a new socket that is connected to its address, with a random source port chosen by the kernel,
 * and returns the descriptor, owned by the caller. The datagram may be lost.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function sendRequestDatagram({
  namespace,
  address,
  port,
  mark,
  payload,
}: RequestDatagramOptions): number {
  const family = address.includes(':') ? 6 : 4;
  const fd = addon().datagramAsk(namespace?.fd ?? -1, family, address, port, mark ?? 0, payload);
  if (fd >= 0) return fd;
  throw systemCallError(-fd, 'KMESH_SOCKET_FAILED', `cannot send UDP to ${address} port ${port}`, 'connect');
}

/** Receives a datagram of a connected socket. Returns its length, or a negated errno: -11 if there is none. */
export function receiveDatagram(fd: number, into: Uint8Array): number {
  return addon().datagramReceive(fd, into);
}

/**
 * Excludes a bound UDP socket from those that share its port (`reusePort`): further datagrams go to the others;
 * received ones can still be read and answered.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function retireUdpSocket(fd: number): void {
  const result = addon().datagramRetire(descriptor('fd', fd));
  checkResult(result, 'KMESH_SOCKET_FAILED', `cannot retire UDP socket ${fd}`, 'connect');
}
