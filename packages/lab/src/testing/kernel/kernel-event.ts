import { formatIp } from '@kmesh/orchestration';
import {
  kmeshCloseReason,
  kmeshDirection,
  kmeshEventKind,
  kmeshPath,
  kmeshEventLayout as layout,
} from '@kmesh/runtime';

/** Bytes of one record of the `events` ring. */
export const KERNEL_EVENT_SIZE = layout.size;

/** A connection that opened, failed or closed, as the kernel saw it. Times are nanoseconds of CLOCK_MONOTONIC. */
export interface KernelEvent {
  readonly kind: keyof typeof kmeshEventKind;
  readonly direction: keyof typeof kmeshDirection;
  readonly path: keyof typeof kmeshPath;
  /** `normal` for opened connections. */
  readonly closeReason: keyof typeof kmeshCloseReason;
  readonly time: bigint;
  readonly namespaceCookie: bigint;
  readonly socketCookie: bigint;
  readonly duration: bigint;
  readonly bytesSent: bigint;
  readonly bytesReceived: bigint;
  readonly local: EventAddress;
  /** The chosen endpoint, or the client of an inbound connection. */
  readonly remote: EventAddress;
  /** Original destination. */
  readonly dialled: EventAddress;
  /** `KernelTables.serviceKey` names it; 0 for none. */
  readonly serviceId: number;
  /** `KernelTables.workloadUid` names it; 0 when unknown. */
  readonly workloadId: number;
  /** In microseconds. */
  readonly smoothedRoundTrip: number;
  readonly minimumRoundTrip: number;
  readonly retransmissions: number;
}

/** IPv4-mapped addresses are given as IPv4. */
interface EventAddress {
  readonly ip: string;
  readonly port: number;
}

const kinds = inverse(kmeshEventKind);
const directions = inverse(kmeshDirection);
const paths = inverse(kmeshPath);
const closeReasons = inverse(kmeshCloseReason);

/** Decodes `struct kmesh_event` at `offset`. */
export function decodeKernelEvent(bytes: Uint8Array, offset = 0): KernelEvent {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, layout.size);
  const address = (at: number, portAt: number): EventAddress => ({
    ip: readIp(view, at),
    port: view.getUint16(portAt),
  });
  return {
    kind: kinds.get(view.getUint8(layout.kind)) ?? 'opened',
    direction: directions.get(view.getUint8(layout.direction)) ?? 'outbound',
    path: paths.get(view.getUint8(layout.path)) ?? 'outside',
    closeReason: closeReasons.get(view.getUint8(layout.closeReason)) ?? 'other',
    time: view.getBigUint64(layout.timeNs, true),
    namespaceCookie: view.getBigUint64(layout.netnsCookie, true),
    socketCookie: view.getBigUint64(layout.socketCookie, true),
    duration: view.getBigUint64(layout.durationNs, true),
    bytesSent: view.getBigUint64(layout.bytesSent, true),
    bytesReceived: view.getBigUint64(layout.bytesReceived, true),
    local: address(layout.local, layout.localPortBe),
    remote: address(layout.remote, layout.remotePortBe),
    dialled: address(layout.dialled, layout.dialledPortBe),
    serviceId: view.getUint32(layout.service, true),
    workloadId: view.getUint32(layout.workload, true),
    smoothedRoundTrip: view.getUint32(layout.srttUs, true),
    minimumRoundTrip: view.getUint32(layout.minRttUs, true),
    retransmissions: view.getUint32(layout.retransmissions, true),
  };
}

function readIp(view: DataView, offset: number): string {
  const [a, b, c, d] = [0, 4, 8, 12].map((word) => view.getUint32(offset + word)) as [
    number,
    number,
    number,
    number,
  ];
  if (a === 0 && b === 0 && c === 0xffff) return formatIp({ family: 4, a: d, b: 0, c: 0, d: 0 });
  return formatIp({ family: 6, a, b, c, d });
}

function inverse<Name extends string>(values: Readonly<Record<Name, number>>): Map<number, Name> {
  return new Map((Object.entries(values) as [Name, number][]).map(([name, value]) => [value, name]));
}
