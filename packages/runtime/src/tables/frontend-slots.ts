import { writeAddress } from './address-bytes.ts';
import {
  kmeshDecisionLayout as decisionLayout,
  kmeshFrontendKeyLayout as keyLayout,
  kmeshConstant,
  kmeshFrontendAction,
  kmeshFrontendFlag,
  kmeshFrontendLayout as layout,
} from './gen/layouts.ts';
import type { WholeMemory } from './kernel-object.ts';

type FrontendAction = keyof typeof kmeshFrontendAction;

/** One entry of `frontends`: the meaning of an address and port for a client namespace. */
export interface FrontendEntry {
  /** Id of the client namespace; 0 for the view of all other namespaces. */
  readonly namespaceId: number;
  /** 0 for the address itself. */
  readonly port: number;
  readonly action: FrontendAction;
  /** Id of the service port, or of the workload; 0 when the action has no target. */
  readonly target: number;
  /** Id of the service; 0 when there is none. */
  readonly service: number;
  /** Whether other namespaces have other views of this address. */
  readonly scoped: boolean;
}

/** Subject of a frontend: an address, or the ports of a CIDR service. */
export type FrontendSubject = { readonly ip: string } | { readonly serviceId: number };

/** Writes `struct kmesh_frontend_key`. */
export function encodeFrontendKey(
  view: DataView,
  offset: number,
  subject: FrontendSubject,
  namespaceId: number,
  port: number,
): void {
  if ('ip' in subject) {
    writeAddress(view, offset + keyLayout.address, subject.ip);
  } else {
    for (let word = 0; word < 12; word += 4) view.setUint32(offset + keyLayout.address + word, 0);
    view.setUint32(offset + keyLayout.address + 12, subject.serviceId, true);
  }
  encodeFrontendPlace(view, offset + keyLayout.place, namespaceId, port);
}

/** Writes the word of a key that follows its address; never 0. */
function encodeFrontendPlace(view: DataView, offset: number, namespaceId: number, port: number): void {
  view.setUint16(offset, port);
  view.setUint16(offset + 2, 1, true);
  view.setUint32(offset + 4, namespaceId, true);
}

/** Writes `union kmesh_decision`. */
export function encodeDecision(
  view: DataView,
  offset: number,
  entry: Pick<FrontendEntry, 'action' | 'service' | 'scoped'>,
  ports = false,
): void {
  const flags = (entry.scoped ? kmeshFrontendFlag.scoped : 0) | (ports ? kmeshFrontendFlag.ports : 0);
  view.setUint16(offset + decisionLayout.action, kmeshFrontendAction[entry.action], true);
  view.setUint16(offset + decisionLayout.flags, flags, true);
  view.setUint32(offset + decisionLayout.service, entry.service, true);
}

/** Words of `struct kmesh_frontend_key` in the order of their hash keys; see frontends.h. */
const wordOrder = [3, 4, 5, 2, 1, 0] as const;

/**
 * Returns the hash function of `frontends` as in bpf/frontends.h: the upper half of `keys[0] + Σ keys[i] × word` modulo
 * 2^64. Products of 64 and 32 bits are composed of exact products of 16 and 32 bits.
 *
 * @param keys random numbers, `KMESH_HASH_KEYS` of them
 * @returns a function of the six 32-bit words of a key, as a program loads them
 */
export function frontendHash(keys: BigUint64Array): (words: Uint32Array) => number {
  if (keys.length !== kmeshConstant.hashKeys) throw new RangeError(`${keys.length} hash keys`);
  const part = (shift: bigint, mask: bigint) =>
    Float64Array.from(keys, (key) => Number((key >> shift) & mask));
  const low = part(0n, 0xffffn);
  const middle = part(16n, 0xffffn);
  const high = Int32Array.from(part(32n, 0xffff_ffffn), (key) => key | 0);
  return (words) => {
    let lowSum = low[0] ?? 0;
    let middleSum = middle[0] ?? 0;
    let highSum = high[0] ?? 0;
    for (let index = 0; index < wordOrder.length; index++) {
      const word = words[wordOrder[index] ?? 0] ?? 0;
      lowSum += (low[index + 1] ?? 0) * word;
      middleSum += (middle[index + 1] ?? 0) * word;
      highSum = (highSum + Math.imul(high[index + 1] ?? 0, word)) | 0;
    }
    const carried = Math.floor((Math.floor(lowSum / 0x1_0000) + middleSum) / 0x1_0000);
    // Bits above 32 exceed the 64 bits of the sum; the shift drops them.
    return (highSum + carried) >>> 0;
  };
}

interface Views {
  readonly bytes: DataView;
  readonly wide: BigUint64Array;
  readonly words: Uint32Array;
}

/** The memory is unmapped after one to two of these without a write. */
const restMilliseconds = 2_000;

/**
 * The memory of `frontends`: an open-addressed hash table that programs read while it is written. The rules are in
 * bpf/frontends.h; the user of this class decides when a slot may be written, and when it is free again.
 */
export class FrontendSlots {
  /** Maximum number of frontends: half of the slots, so that probing stays short. */
  readonly capacity: number;
  readonly #memory: WholeMemory;
  readonly #mask: number;
  readonly #hash: (words: Uint32Array) => number;
  /** 1 + the number of the probe that led to a slot; 0 while it is free. */
  readonly #steps: Uint8Array;
  readonly #homes: Uint32Array;
  readonly #key = new DataView(new ArrayBuffer(keyLayout.size));
  readonly #keyWords = new Uint32Array(this.#key.buffer);
  readonly #decision = new DataView(new ArrayBuffer(8));
  #views: Views | undefined;
  #usedLately = false;

  /** @param memory holds a power of two of entries */
  constructor(memory: WholeMemory, hashKeys: BigUint64Array) {
    const slots = memory.byteLength / layout.size;
    if (!Number.isInteger(Math.log2(slots))) throw new RangeError(`${slots} frontend slots`);
    this.capacity = Math.max(Math.floor(slots / 2), 1);
    this.#memory = memory;
    this.#mask = slots - 1;
    this.#hash = frontendHash(hashKeys);
    this.#steps = new Uint8Array(slots);
    this.#homes = new Uint32Array(slots);
  }

  /** Reserves a slot for a key, not yet visible to lookups; undefined when all possible slots are taken. */
  reserve(subject: FrontendSubject, namespaceId: number, port: number): number | undefined {
    encodeFrontendKey(this.#key, 0, subject, namespaceId, port);
    const home = this.#hash(this.#keyWords) & this.#mask;
    let slot = home;
    for (let step = 0; step < kmeshConstant.frontendProbes; step++) {
      slot = (slot + step) & this.#mask;
      if (this.#steps[slot] !== 0) continue;
      this.#steps[slot] = step + 1;
      this.#homes[slot] = home;
      const at = (slot * layout.size) / 4;
      const { words } = this.#mapped();
      for (let word = 0; word < 4; word++) words[at + word] = this.#keyWords[word] ?? 0;
      return slot;
    }
    return undefined;
  }

  /** Fills a reserved slot and makes it visible by the last store. */
  publish(slot: number, entry: FrontendEntry, range4: bigint, range6: bigint): void {
    const at = slot * layout.size;
    const { bytes, wide } = this.#mapped();
    encodeDecision(bytes, at + layout.decision, entry);
    bytes.setUint32(at + layout.target, entry.target, true);
    wide[(at + layout.range4) / 8] = range4;
    wide[(at + layout.range6) / 8] = range6;
    encodeFrontendPlace(this.#key, keyLayout.place, entry.namespaceId, entry.port);
    Atomics.store(wide, (at + layout.place) / 8, this.#key.getBigUint64(keyLayout.place, true));
    this.#setHeld(slot, true);
  }

  /** Changes the decision, by one store. */
  decide(slot: number, entry: FrontendEntry): void {
    encodeDecision(this.#decision, 0, entry);
    const at = slot * layout.size;
    Atomics.store(this.#mapped().wide, (at + layout.decision) / 8, this.#decision.getBigUint64(0, true));
  }

  /** Changes the range of one family, by one store. */
  flip(slot: number, family: 4 | 6, range: bigint): void {
    const at = slot * layout.size + (family === 4 ? layout.range4 : layout.range6);
    Atomics.store(this.#mapped().wide, at / 8, range);
  }

  /** Hides the slot from lookups. It stays taken: a program may still be reading it. */
  retire(slot: number): void {
    Atomics.store(this.#mapped().wide, (slot * layout.size + layout.place) / 8, 0n);
    this.#setHeld(slot, false);
  }

  /** Frees the slot. Only after a barrier since it was retired, or when it was never published. */
  free(slot: number): void {
    this.#steps[slot] = 0;
  }

  #setHeld(slot: number, held: boolean): void {
    const index = ((this.#homes[slot] ?? 0) * layout.size + layout.held) / 4;
    const bit = 1 << ((this.#steps[slot] ?? 1) - 1);
    const { words } = this.#mapped();
    const before = words[index] ?? 0;
    Atomics.store(words, index, (held ? before | bit : before & ~bit) >>> 0);
  }

  #mapped(): Views {
    this.#usedLately = true;
    if (this.#views !== undefined) return this.#views;
    const memory = this.#memory.map();
    this.#unmapAtRest();
    this.#views = {
      bytes: new DataView(memory),
      wide: new BigUint64Array(memory),
      words: new Uint32Array(memory),
    };
    return this.#views;
  }

  /** Every page of the array counts as this process's memory while it is mapped, used or not. */
  #unmapAtRest(): void {
    this.#usedLately = false;
    const timer = setTimeout(() => {
      if (this.#usedLately) {
        this.#unmapAtRest();
        return;
      }
      this.#views = undefined;
      this.#memory.unmap();
    }, restMilliseconds);
    timer.unref();
  }
}
