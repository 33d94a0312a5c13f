import type { TableUsage } from '@kmesh/api';
import { readAddress, writeAddress } from './address-bytes.ts';
import { THRESHOLD_ALWAYS } from './alias-table.ts';
import { kmeshEndpointFlag, kmeshEndpointLayout as layout } from './gen/layouts.ts';
import type { MapMemory } from './kernel-maps.ts';
import { RangeAllocator, type SlotRange } from './range-allocator.ts';
import type { EndpointSlot } from './service-slots.ts';
import { RefusalCounter } from './usage.ts';

/** Slot 0 is for everybody whose endpoints did not fit or all need the tunnel: one slot that says "tunnel". */
export const TUNNEL_RANGE: SlotRange = { base: 0, size: 1 };

/** Slots are mapped in pieces of this size, from low ones on: 8,192 at a time. */
const PIECE_BYTES = 256 * 1024;

/** One slot as the programs read it. */
export interface PlacedEndpoint {
  readonly workload: number;
  /** `undefined`: the tunnel path serves it. */
  readonly ip: string | undefined;
  readonly port: number;
  readonly verdict: boolean;
  /** The slot of the same run that takes the draws which this one does not keep, and the share that it keeps. */
  readonly alias: number;
  readonly kept: number;
}

/** The `endpoints` array: runs of slots, written completely before anything points at them. */
export class EndpointArray {
  readonly #memory: MapMemory;
  readonly #pieces: DataView[] = [];
  readonly #ranges: RangeAllocator;
  readonly #refused = new RefusalCounter();

  constructor(memory: MapMemory) {
    this.#memory = memory;
    this.#ranges = new RangeAllocator(Math.floor(memory.byteLength / layout.size));
    this.#ranges.allocate(1);
    this.#write(0, { ip: undefined, port: 0, workloadUid: '', alias: 0, threshold: 0xffff_ffff }, 0);
  }

  /**
   * Writes the slots into a free run. Without one, counts the refusal and answers {@link TUNNEL_RANGE}.
   *
   * @param workloadId gives the id under which a workload is known in events
   */
  place(slots: readonly EndpointSlot[], workloadId: (uid: string) => number): SlotRange {
    const range = this.#ranges.allocate(slots.length);
    if (range === undefined) {
      const full = this.#ranges.used + slots.length > this.#ranges.capacity;
      this.#refused.count(full ? 'table-full' : 'range-too-long');
      return TUNNEL_RANGE;
    }
    for (const [index, slot] of slots.entries()) {
      this.#write(range.base + index, slot, slot.workloadUid === '' ? 0 : workloadId(slot.workloadUid));
    }
    return range;
  }

  /** Whether the run holds exactly these slots already. */
  holds(range: SlotRange, slots: readonly EndpointSlot[], workloadId: (uid: string) => number): boolean {
    if (range === TUNNEL_RANGE || range.size !== slots.length) return false;
    const wanted = new DataView(new ArrayBuffer(layout.size));
    return slots.every((slot, index) => {
      encodeSlot(wanted, 0, slot, slot.workloadUid === '' ? 0 : workloadId(slot.workloadUid));
      const slotBytes = (range.base + index) * layout.size;
      const view = this.#pieceAt(slotBytes);
      const offset = slotBytes % PIECE_BYTES;
      for (let at = 0; at < layout.size; at += 4) {
        if (wanted.getUint32(at) !== view.getUint32(offset + at)) return false;
      }
      return true;
    });
  }

  /** What a slot says now. */
  read(index: number): PlacedEndpoint {
    const at = index * layout.size;
    const view = this.#pieceAt(at);
    const offset = at % PIECE_BYTES;
    const flags = view.getUint16(offset + layout.flags, true);
    const threshold = view.getUint32(offset + layout.threshold, true);
    const tunnelled = (flags & kmeshEndpointFlag.tunnel) !== 0;
    return {
      workload: view.getUint32(offset + layout.workload, true),
      ip: tunnelled ? undefined : readAddress(view, offset + layout.address),
      port: view.getUint16(offset + layout.portBe),
      verdict: (flags & kmeshEndpointFlag.verdict) !== 0,
      alias: view.getUint32(offset + layout.alias, true),
      kept: threshold === THRESHOLD_ALWAYS ? 1 : threshold / 2 ** 32,
    };
  }

  /** Gives a run back; only after a barrier. */
  free(range: SlotRange): void {
    if (range !== TUNNEL_RANGE) this.#ranges.free(range);
  }

  usage(): TableUsage {
    return {
      table: 'endpoints',
      used: this.#ranges.used,
      capacity: this.#ranges.capacity,
      refused: this.#refused.counts,
    };
  }

  #write(index: number, slot: EndpointSlot, workload: number): void {
    const at = index * layout.size;
    encodeSlot(this.#pieceAt(at), at % PIECE_BYTES, slot, workload);
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

function encodeSlot(view: DataView, offset: number, slot: EndpointSlot, workload: number): void {
  const direct = slot.ip !== undefined && writeAddress(view, offset + layout.address, slot.ip);
  if (!direct) for (let word = 0; word < 16; word += 4) view.setUint32(offset + layout.address + word, 0);
  view.setUint32(offset + layout.workload, workload, true);
  // A port of 0 marks a slot that was never written, so a tunnel slot has one too.
  view.setUint16(offset + layout.portBe, direct ? slot.port : 1);
  const verdict = slot.verdict === true ? kmeshEndpointFlag.verdict : 0;
  view.setUint16(offset + layout.flags, direct ? verdict : kmeshEndpointFlag.tunnel, true);
  view.setUint32(offset + layout.alias, slot.alias, true);
  view.setUint32(offset + layout.threshold, slot.threshold, true);
}
