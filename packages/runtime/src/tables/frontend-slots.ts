import {
  encodeDecision,
  encodeFrontendKey,
  encodeFrontendPlace,
  type FrontendEntry,
  type FrontendSubject,
} from './frontend-entry.ts';
import { frontendHash } from './frontend-hash.ts';
import {
  kmeshFrontendKeyLayout as keyLayout,
  kmeshConstant,
  kmeshFrontendLayout as layout,
} from './gen/layouts.ts';
import type { WholeMemory } from './kernel-maps.ts';

interface Views {
  readonly bytes: DataView;
  readonly wide: BigUint64Array;
  readonly words: Uint32Array;
}

/** Without a write for one to two of these the memory is unmapped. */
const restMilliseconds = 2_000;

/**
 * The memory of `frontends`: an open-addressed hash table that programs read while it is written. The rules are in
 * bpf/frontends.h; whoever uses this class decides when a slot may be written, and when it is free again.
 */
export class FrontendSlots {
  /** Frontends that there may be: half of the slots, so that probing stays short. */
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

  /** @param memory a power of two of entries */
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

  /** Takes a free slot for a key, in which nothing finds it yet; undefined when all that it may be in are taken. */
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

  /** Fills a reserved slot and makes it visible by its last store. */
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

  /** Changes what is decided, by one store. */
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

  /** Nothing finds the slot any more. It stays taken: a program may still be reading it. */
  retire(slot: number): void {
    Atomics.store(this.#mapped().wide, (slot * layout.size + layout.place) / 8, 0n);
    this.#setHeld(slot, false);
  }

  /** The slot may be taken again. Only after a barrier since it was retired, or when it was never published. */
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

  /** Every page of the array counts as this process's memory while it is mapped, whatever the mesh. */
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
