import type { TableUsage } from '@kmesh/api';
import { readAddress, readAddress4, writeAddress, writeAddress4 } from './address-bytes.ts';
import { RefusalCounter } from './counters.ts';
import {
  kmeshChoice4Layout,
  kmeshChoice6Layout,
  kmeshEndpointFlag,
  kmeshEndpointLayout,
  kmeshSlot4Layout,
  kmeshSlot6Layout,
} from './gen/layouts.ts';
import type { MapMemory } from './kernel-object.ts';
import type { EndpointChoice, EndpointSlot } from './service-slots.ts';

/** The threshold of a slot that keeps every draw. */
export const THRESHOLD_ALWAYS = 0xffff_ffff;

/** One slot: an item, and the item for the draws of 2^32 above `threshold`. */
interface AliasSlot {
  readonly item: number;
  readonly alias: number;
  readonly threshold: number;
}

/**
 * Builds Vose's alias table for items of positive weights: one slot per item, so that a uniform slot and one comparison
 * draw each item in proportion to its weight. Exact to one draw in 2^32 for whole weights, to a few for shares.
 */
export function buildAliasTable(weights: readonly number[]): AliasSlot[] {
  const count = weights.length;
  let sum = 0;
  for (const weight of weights) sum += weight;
  if (weights.every((weight) => weight * count === sum)) {
    return weights.map((_weight, item) => ({ item, alias: item, threshold: THRESHOLD_ALWAYS }));
  }
  // In units of sum / count per slot, integer weights stay integers.
  const rest = weights.map((weight) => weight * count);
  const slots: AliasSlot[] = weights.map((_weight, item) => ({
    item,
    alias: item,
    threshold: THRESHOLD_ALWAYS,
  }));
  const small: number[] = [];
  const large: number[] = [];
  for (const [item, share] of rest.entries()) (share < sum ? small : large).push(item);
  for (;;) {
    const less = small.pop();
    const more = large.pop();
    if (less === undefined || more === undefined) break;
    const share = rest[less] ?? 0;
    slots[less] = {
      item: less,
      alias: more,
      threshold: Math.max(Math.floor((share / sum) * 2 ** 32) - 1, 0),
    };
    const left = (rest[more] ?? 0) - (sum - share);
    rest[more] = left;
    (left < sum ? small : large).push(more);
  }
  return slots;
}

/** A run of slots. `size` is the requested size; the block may be larger. */
export interface SlotRange {
  readonly base: number;
  readonly size: number;
}

/**
 * Allocates runs of slots in a kernel array as buddy blocks of powers of two, so that long-term growth and shrinking
 * cause no lasting fragmentation.
 */
export class RangeAllocator {
  readonly capacity: number;
  /** Free blocks by order: block of order n holds 2^n slots and starts at a multiple of that. */
  readonly #free: Set<number>[] = [];
  #used = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    let base = 0;
    while (base < capacity) {
      let order = Math.min(base === 0 ? 31 : Math.log2(base & -base), Math.floor(Math.log2(capacity - base)));
      order = Math.max(order, 0);
      this.#blocks(order).add(base);
      base += 2 ** order;
    }
  }

  /** Slots in allocated blocks, the unused rest of each block included. */
  get used(): number {
    return this.#used;
  }

  /** Allocates a run of `size` slots (at least 1), or returns undefined when no block is large enough. */
  allocate(size: number): SlotRange | undefined {
    const wanted = orderOf(size);
    let order = wanted;
    while (order < this.#free.length && this.#blocks(order).size === 0) order++;
    const [base] = this.#free[order] ?? [];
    if (base === undefined) return undefined;
    this.#blocks(order).delete(base);
    while (order > wanted) {
      order--;
      this.#blocks(order).add(base + 2 ** order);
    }
    this.#used += 2 ** wanted;
    return { base, size };
  }

  /** Frees a run; the caller has ensured that no program reads it any more. */
  free(range: SlotRange): void {
    let order = orderOf(range.size);
    let { base } = range;
    this.#used -= 2 ** order;
    for (;;) {
      const length = 2 ** order;
      const buddy = Math.floor(base / length) % 2 === 0 ? base + length : base - length;
      if (!this.#blocks(order).delete(buddy)) break;
      base = Math.min(base, buddy);
      order++;
    }
    this.#blocks(order).add(base);
  }

  #blocks(order: number): Set<number> {
    while (this.#free.length <= order) this.#free.push(new Set());
    return this.#free[order] ?? new Set();
  }
}

function orderOf(size: number): number {
  return size <= 1 ? 0 : 32 - Math.clz32(size - 1);
}

/** A run of slots of one address family. `base` counts the places of IPv4 slots; an IPv6 slot takes two. */
export interface EndpointRange extends SlotRange {
  readonly family: 4 | 6;
}

/** Memory is mapped in pieces of this size, from low ones on: 8,192 places each. */
const PIECE_BYTES = 256 * 1024;

const layouts = {
  4: { ...kmeshSlot4Layout, choice: kmeshChoice4Layout, places: 1, write: writeAddress4, read: readAddress4 },
  6: { ...kmeshSlot6Layout, choice: kmeshChoice6Layout, places: 2, write: writeAddress, read: readAddress },
} as const;

/** A possible result of drawing a slot, as the programs read it. */
export interface PlacedEndpoint {
  readonly workload: number;
  /** `undefined`: the tunnel path serves it. */
  readonly ip: string | undefined;
  readonly port: number;
  readonly verdict: boolean;
  /** Fraction of the draws of this slot. */
  readonly share: number;
}

/** The `endpoints` array: runs of slots, written completely before anything points at them. */
export class EndpointArray {
  /** The range for services whose endpoints did not fit or all need the tunnel: one slot that means "tunnel". */
  readonly tunnel: { readonly 4: EndpointRange; readonly 6: EndpointRange };
  readonly #memory: MapMemory;
  readonly #pieces: DataView[] = [];
  readonly #ranges: RangeAllocator;
  readonly #refused = new RefusalCounter();

  constructor(memory: MapMemory) {
    this.#memory = memory;
    this.#ranges = new RangeAllocator(Math.floor(memory.byteLength / kmeshSlot4Layout.size));
    this.tunnel = { 4: this.#placeTunnel(4), 6: this.#placeTunnel(6) };
  }

  /**
   * Writes the slots into a free run. Without one, counts the refusal and returns {@link EndpointArray.tunnel}.
   *
   * @param workloadId returns the id under which a workload is known in events
   */
  place(family: 4 | 6, slots: readonly EndpointSlot[], workloadId: (uid: string) => number): EndpointRange {
    const { places } = layouts[family];
    const run = this.#ranges.allocate(slots.length * places);
    if (run === undefined) {
      const full = this.#ranges.used + slots.length * places > this.#ranges.capacity;
      this.#refused.count(full ? 'table-full' : 'range-too-long');
      return this.tunnel[family];
    }
    const range = { family, base: run.base, size: slots.length };
    for (const [index, slot] of slots.entries()) {
      const { view, offset } = this.#slotAt(range, index);
      encodeSlot(view, offset, family, slot, workloadId);
    }
    return range;
  }

  /** Returns whether the run already holds exactly these slots. */
  holds(range: EndpointRange, slots: readonly EndpointSlot[], workloadId: (uid: string) => number): boolean {
    const { family } = range;
    if (range === this.tunnel[family] || range.size !== slots.length) return false;
    const { size } = layouts[family];
    const wanted = new DataView(new ArrayBuffer(size));
    return slots.every((slot, index) => {
      encodeSlot(wanted, 0, family, slot, workloadId);
      const { view, offset } = this.#slotAt(range, index);
      for (let at = 0; at < size; at += 4) {
        if (wanted.getUint32(at) !== view.getUint32(offset + at)) return false;
      }
      return true;
    });
  }

  /** Returns the possible results of a slot of a range: one endpoint, or two. */
  read(range: EndpointRange, index: number): readonly PlacedEndpoint[] {
    const layout = layouts[range.family];
    const { view, offset } = this.#slotAt(range, index);
    const kept = (view.getUint32(offset + layout.threshold, true) + 1) / 2 ** 32;
    return [kept, 1 - kept].flatMap((share, number) => {
      if (share === 0) return [];
      const choice = offset + layout.choices + number * layout.choice.size;
      const endpoint = choice + layout.choice.endpoint;
      const flags = view.getUint16(endpoint + kmeshEndpointLayout.flags, true);
      const tunnelled = (flags & kmeshEndpointFlag.tunnel) !== 0;
      return {
        workload: view.getUint32(endpoint + kmeshEndpointLayout.workload, true),
        ip: tunnelled ? undefined : layout.read(view, choice + layout.choice.address),
        port: view.getUint16(endpoint + kmeshEndpointLayout.portBe),
        verdict: (flags & kmeshEndpointFlag.verdict) !== 0,
        share,
      };
    });
  }

  /** Frees a run; only after a barrier. */
  free(range: EndpointRange): void {
    const { family, base, size } = range;
    if (range !== this.tunnel[family]) this.#ranges.free({ base, size: size * layouts[family].places });
  }

  usage(): TableUsage {
    return {
      table: 'endpoints',
      used: this.#ranges.used,
      capacity: this.#ranges.capacity,
      refused: this.#refused.counts,
    };
  }

  #placeTunnel(family: 4 | 6): EndpointRange {
    const choice = { ip: undefined, port: 0, workloadUid: '' };
    const { places } = layouts[family];
    const range = { family, base: this.#ranges.allocate(places)?.base ?? 0, size: 1 };
    const { view, offset } = this.#slotAt(range, 0);
    encodeSlot(view, offset, family, { choice, other: choice, threshold: THRESHOLD_ALWAYS }, () => 0);
    return range;
  }

  #slotAt({ family, base }: EndpointRange, index: number): { view: DataView; offset: number } {
    const at = (base + index * layouts[family].places) * kmeshSlot4Layout.size;
    return { view: this.#pieceAt(at), offset: at % PIECE_BYTES };
  }

  #pieceAt(at: number): DataView {
    const number = Math.floor(at / PIECE_BYTES);
    const begin = number * PIECE_BYTES;
    this.#pieces[number] ??= this.#memory.piece(
      begin,
      Math.min(PIECE_BYTES, this.#memory.byteLength - begin),
    );
    return this.#pieces[number];
  }
}

function encodeSlot(
  view: DataView,
  offset: number,
  family: 4 | 6,
  { choice, other, threshold }: EndpointSlot,
  workloadId: (uid: string) => number,
): void {
  const { choices, choice: layout, threshold: thresholdAt } = layouts[family];
  encodeChoice(view, offset + choices, family, choice, workloadId);
  const second = offset + choices + layout.size;
  if (other !== choice) encodeChoice(view, second, family, other, workloadId);
  else
    for (let at = second; at < second + layout.size; at += 4)
      view.setUint32(at, view.getUint32(at - layout.size));
  view.setUint32(offset + thresholdAt, threshold, true);
}

function encodeChoice(
  view: DataView,
  offset: number,
  family: 4 | 6,
  { ip, port, workloadUid, verdict }: EndpointChoice,
  workloadId: (uid: string) => number,
): void {
  const { choice: layout, write } = layouts[family];
  const address = offset + layout.address;
  const direct = ip !== undefined && write(view, address, ip);
  if (!direct) for (let at = address; at < offset + layout.size; at += 4) view.setUint32(at, 0);
  const endpoint = offset + layout.endpoint;
  view.setUint32(
    endpoint + kmeshEndpointLayout.workload,
    workloadUid === '' ? 0 : workloadId(workloadUid),
    true,
  );
  // Port 0 marks a slot that was never written, so a tunnel slot has a port too.
  view.setUint16(endpoint + kmeshEndpointLayout.portBe, direct ? port : 1);
  const allowed = verdict === true ? kmeshEndpointFlag.verdict : 0;
  view.setUint16(endpoint + kmeshEndpointLayout.flags, direct ? allowed : kmeshEndpointFlag.tunnel, true);
}
