import {
  type BpfMap,
  type BpfObject,
  capability,
  listTcpSockets,
  type NetworkNamespace,
  type TcpSockets,
  tcpState,
} from '@kmesh/linux';
import {
  kmeshCountedLayout as counted,
  kmeshEventLayout as event,
  kmeshFlowLayout as flow,
  kmeshDirection,
  kmeshEventKind,
  kmeshFlowStage,
  kmeshPath,
} from '../tables/gen/layouts.ts';
import type { KernelConnections } from './kernel-connections.ts';

interface LiveFlowReportsOptions {
  /** The loaded kernel programs; `liveFlowsObstacles` must be empty. */
  readonly object: Pick<BpfObject, 'map'>;
  readonly connections: Pick<
    KernelConnections,
    'beginLiveReport' | 'liveFlows' | 'endLiveReport' | 'continueFrom' | 'close'
  >;
  /** Returns the namespaces of the enrolled pods. */
  readonly namespaces: () => readonly NetworkNamespace[];
  /** Called when a report fails; the next one is tried all the same. */
  readonly onError: (error: unknown) => void;
  readonly intervalMilliseconds?: number;
  /** Identifies this daemon among those that count on this node, 1 to 65,535. Default: there is only one. */
  readonly generation?: number;
  /**
   * Returns whether this daemon's programs are at the hooks. Before they are, and once another daemon's have taken their
   * place, that one counts what is open. Default: they always are.
   */
  readonly isObserving?: () => boolean;
}

/** Bytes of a long connection show within 5 s; a report of many takes part of that. */
const mostIntervalMilliseconds = 3000;
/** The delay is `restPerWork` × the duration of the last report, clamped to these two. */
const leastIntervalMilliseconds = 1000;
const restPerWork = 30;

/**
 * Reports the connections that are open in the kernel to `KernelConnections` at least every 5 s. The sockets of each pod are
 * listed on a thread of libuv's pool and taken in slices. Does not keep the process alive.
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
    this.#schedule(options.intervalMilliseconds ?? leastIntervalMilliseconds);
  }

  /** Takes a report now, or joins the one that is under way. */
  take(): Promise<void> {
    this.#running ??= this.#take().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Takes the last report, once the one under way is done: the next daemon continues from what it counts. */
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
          const rest = Math.max(leastIntervalMilliseconds, restPerWork * (performance.now() - began));
          this.#schedule(this.#options.intervalMilliseconds ?? Math.min(rest, mostIntervalMilliseconds));
        });
    }, milliseconds);
    this.#timer.unref();
  }

  /** Whether this daemon counts what is open; leaves it to the next one when it did so before. */
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
    const { connections, object, namespaces } = this.#options;
    if (!this.#mayCount()) return;
    connections.beginLiveReport(Number(process.hrtime.bigint()));
    for (const namespace of namespaces()) {
      // A pod that leaves during the report has no connections any more.
      if (namespace.closed) continue;
      for await (const { bytes, count } of liveFlowsOf(namespace, object.map('flows'))) {
        if (!this.#mayCount()) return;
        connections.liveFlows(bytes, count);
        this.#counted.note(bytes, count);
      }
    }
    this.#counted.keep(connections.endLiveReport());
  }
}

/** States of established connections: their flow has not been reported as ended. */
const openStates = [
  tcpState.established,
  tcpState.finWait1,
  tcpState.finWait2,
  tcpState.closeWait,
  tcpState.lastAck,
  tcpState.closing,
];

/** Returns why live flows cannot be read on this kernel; empty when they can. */
export function liveFlowsObstacles(): string[] {
  const { available, description, requiredKernel, reason } = capability('socket-list');
  return available ? [] : [`${description} (Linux ${requiredKernel} has them): ${reason}`];
}

/** Open connections of the kernel path as `struct kmesh_event` records, whose kind has no meaning. */
interface LiveFlows {
  readonly bytes: Uint8Array;
  readonly count: number;
}

/**
 * Lists the connections of a namespace that the kernel path carries now, in slices of at most `most` records. The sockets
 * are read on a thread of libuv's pool; a slice costs this thread about a microsecond for each record.
 *
 * @param flows the socket storage of the programs that decided
 * @throws SystemCallError `KMESH_SOCKET_LIST_FAILED`
 */
async function* liveFlowsOf(
  namespace: NetworkNamespace,
  flows: BpfMap,
  most = 1024,
): AsyncGenerator<LiveFlows, void, undefined> {
  const sockets = await listTcpSockets(namespace, { states: openStates, storage: flows });
  const now = Number(process.hrtime.bigint());
  let bytes = new Uint8Array(Math.min(most, sockets.count) * event.size);
  let count = 0;
  while (sockets.next()) {
    if (!writeRecord(sockets, now, bytes, count * event.size)) continue;
    if (++count < most) continue;
    yield { bytes, count };
    await new Promise((resolve) => setImmediate(resolve));
    bytes = new Uint8Array(most * event.size);
    count = 0;
  }
  if (count > 0) yield { bytes, count };
}

/** Writes the record of a socket; false when it is not a connection that the kernel path reports (`is_reported`). */
function writeRecord(sockets: TcpSockets, now: number, bytes: Uint8Array, at: number): boolean {
  const { storage } = sockets;
  const path = storage[flow.path];
  const inbound = storage[flow.direction] === kmeshDirection.inbound;
  if (storage[flow.stage] !== kmeshFlowStage.established) return false;
  if (path !== kmeshPath.kernel && !(path === kmeshPath.outside && inbound)) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, event.size);
  const stored = new DataView(storage.buffer, storage.byteOffset, storage.byteLength);
  const { sent, received } = bytesCarried(sockets, storage[flow.tcpState] as number, inbound);
  setWide(view, event.timeNs, now);
  setWide(view, event.durationNs, now - wideAt(stored, flow.startedNs));
  setWide(view, event.socketCookie, sockets.cookie);
  setWide(view, event.bytesSent, sent);
  setWide(view, event.bytesReceived, received);
  bytes.set(sockets.localAddress, at + event.local);
  bytes.set(sockets.remoteAddress, at + event.remote);
  view.setUint16(event.localPortBe, sockets.localPort);
  view.setUint16(event.remotePortBe, sockets.remotePort);
  view.setUint32(event.srttUs, sockets.smoothedRoundTripMicroseconds, true);
  view.setUint32(event.minRttUs, sockets.minimalRoundTripMicroseconds, true);
  view.setUint32(event.retransmissions, sockets.retransmissions, true);
  bytes.set(storage.subarray(flow.dialled, flow.dialled + 16), at + event.dialled);
  for (const [from, to, length] of copied) {
    for (let index = 0; index < length; index++) bytes[at + to + index] = storage[from + index] as number;
  }
  bytes[at + event.kind] = kmeshEventKind.opened;
  return true;
}

/** Fields that a record has as its flow has them: where from, where to, bytes. */
const copied = [
  [flow.netnsCookie, event.netnsCookie, 8],
  [flow.service, event.service, 4],
  [flow.workload, event.workload, 4],
  [flow.peerIdentity, event.peerIdentity, 4],
  [flow.dialledPortBe, event.dialledPortBe, 2],
  [flow.direction, event.direction, 1],
  [flow.path, event.path, 1],
  [flow.attested, event.attested, 1],
] as const;

function wideAt(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 4_294_967_296;
}

function setWide(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value, true);
  view.setUint32(offset + 4, value / 4_294_967_296, true);
}

/** In these the peer's FIN has arrived, and may be one of the bytes received. */
const finReceived: ReadonlySet<number> = new Set([tcpState.closeWait, tcpState.lastAck, tcpState.closing]);

/** In these the own FIN was sent, and may be one of the bytes acknowledged. */
const finSent: ReadonlySet<number> = new Set([tcpState.finWait1, tcpState.lastAck, tcpState.closing]);

/**
 * Bytes that a socket has carried. Its counters have the sequence numbers of SYN and FIN, and its state was read a moment before
 * them: a FIN in between is known from the state that the programs kept, which the kernel copies after the counters. One that
 * came later still, or is not acknowledged yet, makes a byte that the next list shows.
 *
 * @param keptState `tcp_state` of the flow: 0 while no FIN was sent or has arrived
 */
export function bytesCarried(
  sockets: Pick<TcpSockets, 'bytesAcknowledged' | 'bytesReceived'>,
  keptState: number,
  inbound: boolean,
): { readonly sent: number; readonly received: number } {
  const synAndFin = (inbound ? 0 : 1) + (finSent.has(keptState) ? 1 : 0);
  return {
    sent: Math.max(0, sockets.bytesAcknowledged - synAndFin),
    received: Math.max(0, sockets.bytesReceived - (finReceived.has(keptState) ? 1 : 0)),
  };
}

/** Bytes of a connection, seen from its socket. */
export interface CountedSocket {
  readonly sent: number;
  readonly received: number;
}

/**
 * What the metrics of successive daemons contain of open connections, by socket cookie: each continues where the one before
 * stopped. Kept in a map that is pinned with the flows.
 */
class CountedFlows {
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
