import { type BpfMap, type BpfObject, capability } from '@kmesh/linux';
import {
  kmeshCountedLayout as counted,
  kmeshEventLayout as event,
  kmeshLiveRequestLayout as request,
} from '../tables/gen/layouts.ts';
import type { KernelConnections } from './kernel-connections.ts';

interface LiveFlowReportsOptions {
  /** The loaded kernel programs; `liveFlowsObstacles` must be empty. */
  readonly object: Pick<BpfObject, 'map' | 'program'>;
  readonly connections: Pick<
    KernelConnections,
    'beginLiveReport' | 'liveFlows' | 'endLiveReport' | 'continueFrom' | 'close'
  >;
  /** Called when a report fails; the next one is still tried. */
  readonly onError: (error: unknown) => void;
  readonly intervalMilliseconds?: number;
  /** Identifies this daemon among those that count on this node, 1 to 65,535. Default: there is only one. */
  readonly generation?: number;
  /**
   * Returns whether this daemon's programs are at the hooks. Before that, and after another daemon's have replaced
   * them, the other daemon counts open connections. Default: always.
   */
  readonly isObserving?: () => boolean;
}

/** Bytes of a long connection appear within 5 s, which includes the duration of a large report. */
const maximumIntervalMilliseconds = 3000;
/** The delay is `restPerWork` × the duration of the last report, clamped to these two. */
const minimumIntervalMilliseconds = 1000;
const restPerWork = 30;

/**
 * Reports the open kernel connections to `KernelConnections` at least every 5 s. They are read on a thread of
 * libuv's pool and processed in slices. Does not keep the process alive.
 */
export class LiveFlowReports implements Disposable {
  readonly #options: LiveFlowReportsOptions;
  readonly #counted: CountedFlows;
  #observed = false;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: LiveFlowReportsOptions) {
    this.#options = options;
    const counted = new CountedFlows(options.object.map('counted'), options.generation ?? 1);
    this.#counted = counted;
    options.connections.continueFrom((cookie) => counted.earlier(cookie));
    this.#schedule(options.intervalMilliseconds ?? minimumIntervalMilliseconds);
  }

  /** Takes a report now, or joins the one in progress. */
  take(): Promise<void> {
    this.#running ??= this.#take().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Takes the last report after the one in progress: the next daemon continues from its counts. */
  async takeLast(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#running?.catch(() => undefined);
    await this.take();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #schedule(milliseconds: number): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      const began = performance.now();
      this.take()
        .catch(this.#options.onError)
        .finally(() => {
          const rest = Math.max(minimumIntervalMilliseconds, restPerWork * (performance.now() - began));
          this.#schedule(this.#options.intervalMilliseconds ?? Math.min(rest, maximumIntervalMilliseconds));
        });
    }, milliseconds);
    this.#timer.unref();
  }

  /**
   * Returns whether this daemon counts open connections; once it has stopped counting, it leaves them to the next one.
   */
  #mayCount(): boolean {
    if (this.#closed) return false;
    const { connections, isObserving } = this.#options;
    if (isObserving?.() !== false) {
      this.#observed = true;
      return true;
    }
    if (this.#observed) connections.close(true);
    return false;
  }

  async #take(): Promise<void> {
    const { connections, object } = this.#options;
    if (!this.#mayCount()) return;
    connections.beginLiveReport(Number(process.hrtime.bigint()));
    for await (const { bytes, count } of liveFlows(object)) {
      if (!this.#mayCount()) return;
      connections.liveFlows(bytes, count);
      this.#counted.note(bytes, count);
    }
    this.#counted.keep(connections.endLiveReport());
  }
}

/** Returns why live flows cannot be read on this kernel; empty when they can. */
export function liveFlowsObstacles(): string[] {
  const { available, description, requiredKernel, reason } = capability('kernel-reads');
  return available ? [] : [`${description} (Linux ${requiredKernel} has them): ${reason}`];
}

/** Open connections of the kernel path as `struct kmesh_event` records; their kind has no meaning. */
interface LiveFlows {
  /** Overwritten when the next ones are requested. */
  readonly bytes: Uint8Array;
  readonly count: number;
}

/** Records that the control thread processes in one turn, about a microsecond each. */
const slice = 1024;

/**
 * Reads the established connections that the kernel path carries, as found by `kmesh_live`, in slices.
 *
 * @throws SystemCallError `KMESH_BPF_RUN_FAILED`
 */
async function* liveFlows(
  object: Pick<BpfObject, 'map' | 'program'>,
): AsyncGenerator<LiveFlows, void, undefined> {
  const program = object.program('kmesh_live');
  const records = object.map('live_flows').mmap();
  const asked = new Uint8Array(request.size);
  const askedView = new DataView(asked.buffer);
  let from = 0;
  do {
    askedView.setUint32(request.from, from, true);
    const answer = await program.run(asked);
    const view = new DataView(answer.buffer, answer.byteOffset, answer.byteLength);
    const count = view.getUint32(request.count, true);
    from = view.getUint32(request.next, true);
    for (let at = 0; at < count; at += slice) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve));
      const taken = Math.min(slice, count - at);
      yield { bytes: new Uint8Array(records, at * event.size, taken * event.size), count: taken };
    }
  } while (from !== 0);
}

/** Byte counts of a connection, from its socket's side. */
export interface CountedSocket {
  readonly sent: number;
  readonly received: number;
}

/**
 * Bytes of open connections that the metrics of successive daemons contain, by socket cookie: each daemon continues
 * where the one before stopped. Kept in a map that is pinned with the flows.
 */
class CountedFlows {
  readonly #map: BpfMap;
  readonly #generation: number;
  /** Sum of the bytes noted last, by cookie: unchanged entries are not written again. */
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

  /** Notes that records of open connections were counted. If the map is full, the next daemon counts the rest again. */
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

  /** Removes the connections that are missing from a complete report. */
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
