import { KmeshError } from '@kmesh/api';
import { addon } from './addon.ts';
import { checkResult, descriptor, integerIn, systemCallError } from './errors.ts';
import type { NetworkNamespace } from './network-namespace.ts';

const payloadOffset = 40;
const tooLong = 0xffff_ffff;
const mostSlots = 64;

/**
 * Memory for datagrams that are received and sent in batches of up to 64, one system call each. What was received can be answered in
 * place: the answer's payload and length go into a slot of another batch, with {@link DatagramBatch.addressFrom}.
 */
export class DatagramBatch {
  readonly slots: number;
  /** The memory of all payloads; slot i has it from `offset(i)` on, up to {@link DatagramBatch.payloadBytes}. */
  readonly memory: Buffer;
  readonly payloadBytes: number;
  readonly #slotBytes: number;

  /** @throws KmeshError `KMESH_ADDON_BROKEN` when the addon has another layout of slots */
  constructor(slots: number, payloadBytes: number) {
    if (addon().datagramPayloadOffset() !== payloadOffset) {
      const message = 'the addon is of another build than these sources: run scripts/build-addon.sh';
      throw new KmeshError('KMESH_ADDON_BROKEN', message);
    }
    this.slots = integerIn('slots', slots, 1, mostSlots);
    this.payloadBytes = integerIn('payloadBytes', payloadBytes, 8, 65_536);
    // Addresses and lengths are aligned in every slot.
    this.#slotBytes = Math.ceil((payloadOffset + payloadBytes) / 8) * 8;
    this.memory = Buffer.alloc(this.#slotBytes * slots);
  }

  /** Where the payload of a slot begins. */
  offset(slot: number): number {
    return slot * this.#slotBytes + payloadOffset;
  }

  /** Length of a received payload; -1 for one that did not fit. */
  length(slot: number): number {
    const length = this.memory.readUInt32LE(slot * this.#slotBytes);
    return length === tooLong ? -1 : length;
  }

  setLength(slot: number, length: number): void {
    this.memory.writeUInt32LE(length, slot * this.#slotBytes);
  }

  /** The port of a slot's address. */
  port(slot: number): number {
    return this.memory.readUInt16BE(slot * this.#slotBytes + 10);
  }

  /** The address of a slot, to be kept over the next batch. */
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

  /** Receives what there is, at most a full batch; 0 when nothing waits or the socket reports an error. */
  receive(fd: number): number {
    return Math.max(0, addon().datagramsReceive(fd, this.memory, this.#slotBytes, this.slots));
  }

  /** Sends the first `count` slots and returns how many the kernel took; what it does not take is lost, as datagrams may be. */
  send(fd: number, count: number): number {
    return addon().datagramsSend(fd, this.memory, this.#slotBytes, count);
  }
}

/** A datagram to one address, from a socket of its own. */
interface AskOptions {
  /** The process's own when absent. */
  readonly namespace?: NetworkNamespace | undefined;
  readonly address: string;
  readonly port: number;
  /** SO_MARK, 1 to 2^32-1. */
  readonly mark?: number | undefined;
  readonly payload: Uint8Array;
}

/**
 * Sends a datagram from a new socket that only hears from that address, on a source port that the kernel draws at random, and returns its descriptor, owned by the
 * caller. What the network does not take is lost.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function askByDatagram({ namespace, address, port, mark, payload }: AskOptions): number {
  const family = address.includes(':') ? 6 : 4;
  const fd = addon().datagramAsk(namespace?.fd ?? -1, family, address, port, mark ?? 0, payload);
  if (fd >= 0) return fd;
  throw systemCallError(-fd, 'KMESH_SOCKET_FAILED', `cannot send UDP to ${address} port ${port}`, 'connect');
}

/** Receives a datagram of a connected socket into memory; its length, or a negated errno: -11 when none waits. */
export function receiveDatagram(fd: number, into: Uint8Array): number {
  return addon().datagramReceive(fd, into);
}

/**
 * Takes a bound UDP socket out of the choice of those that share its port (`reusePort`): what comes from now on goes to the others;
 * what it has received can still be read and answered.
 *
 * @throws SystemCallError `KMESH_SOCKET_FAILED`
 */
export function retireUdpSocket(fd: number): void {
  const result = addon().datagramRetire(descriptor('fd', fd));
  checkResult(result, 'KMESH_SOCKET_FAILED', `cannot retire UDP socket ${fd}`, 'connect');
}
