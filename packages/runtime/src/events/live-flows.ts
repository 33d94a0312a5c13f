import {
  type BpfMap,
  capability,
  listTcpSockets,
  type NetworkNamespace,
  type TcpSockets,
  tcpState,
} from '@kmesh/linux';
import {
  kmeshEventLayout as event,
  kmeshFlowLayout as flow,
  kmeshDirection,
  kmeshEventKind,
  kmeshFlowStage,
  kmeshPath,
} from '../tables/gen/layouts.ts';
import { bytesCarried } from './carried-bytes.ts';

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
export async function* liveFlowsOf(
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
