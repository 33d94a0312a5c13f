import type { BpfMap } from '@kmesh/linux';
import { kmeshCountedLayout as counted, kmeshEventLayout as event } from '../tables/gen/layouts.ts';

/** Bytes of a connection, seen from its socket. */
export interface CountedSocket {
  readonly sent: number;
  readonly received: number;
}

/**
 * What the metrics of successive daemons contain of open connections, by socket cookie: each continues where the one before
 * stopped. Kept in a map that is pinned with the flows.
 */
export class CountedFlows {
  readonly #map: BpfMap;
  readonly #generation: number;
  /** Sum of the bytes that were noted last, by cookie: what has not moved is not written again. */
  readonly #noted = new Map<number, number>();
  /** Whether every entry is this daemon's: true after its first complete report. */
  #own = false;

  /** @param generation identifies this daemon among those that use the map, 1 to 65,535 */
  constructor(map: BpfMap, generation: number) {
    this.#map = map;
    this.#generation = generation;
  }

  /** Returns what an earlier daemon counted of a connection; undefined if none did. */
  earlier(cookie: number): CountedSocket | undefined {
    if (this.#own) return undefined;
    const value = this.#map.get(keyOf(cookie));
    if (value === undefined) return undefined;
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    if (view.getUint32(counted.generation, true) === this.#generation) return undefined;
    return {
      sent: Number(view.getBigUint64(counted.sent, true)),
      received: Number(view.getBigUint64(counted.received, true)),
    };
  }

  /** Notes that records of open connections were counted. Those for which the map has no room are counted again by the next daemon. */
  note(records: Uint8Array, count: number): void {
    const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
    const keys = new Uint8Array(count * 8);
    const values = new Uint8Array(count * counted.size);
    const valueView = new DataView(values.buffer);
    let changed = 0;
    for (let index = 0; index < count; index++) {
      const at = index * event.size;
      const cookie = wideAt(view, at + event.socketCookie);
      const sum = wideAt(view, at + event.bytesSent) + wideAt(view, at + event.bytesReceived);
      if (this.#noted.get(cookie) === sum) continue;
      this.#noted.set(cookie, sum);
      keys.set(records.subarray(at + event.socketCookie, at + event.socketCookie + 8), changed * 8);
      const to = changed++ * counted.size;
      values.set(records.subarray(at + event.bytesSent, at + event.bytesSent + 8), to + counted.sent);
      values.set(
        records.subarray(at + event.bytesReceived, at + event.bytesReceived + 8),
        to + counted.received,
      );
      valueView.setUint32(to + counted.generation, this.#generation, true);
    }
    if (changed > 0) this.#map.updateBatch(keys, values, changed);
  }

  /** Removes the connections that a complete report did not have. */
  keep(seen: ReadonlySet<number>): void {
    const gone: number[] = [];
    for (const cookie of this.#noted.keys()) if (!seen.has(cookie)) gone.push(cookie);
    if (!this.#own) {
      for (const [key] of this.#map.entries()) {
        const cookie = wideAt(new DataView(key.buffer, key.byteOffset, 8), 0);
        if (!seen.has(cookie)) gone.push(cookie);
      }
      this.#own = true;
    }
    const keys = new Uint8Array(gone.length * 8);
    for (const [index, cookie] of gone.entries()) {
      this.#noted.delete(cookie);
      keys.set(keyOf(cookie), index * 8);
    }
    if (gone.length > 0) this.#map.deleteBatch(keys, gone.length);
  }
}

function keyOf(cookie: number): Uint8Array {
  const key = new Uint8Array(8);
  const view = new DataView(key.buffer);
  view.setUint32(0, cookie, true);
  view.setUint32(4, cookie / 4_294_967_296, true);
  return key;
}

function wideAt(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 4_294_967_296;
}
