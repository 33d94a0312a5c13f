import {
  kmeshCloseReason,
  kmeshDirection,
  kmeshEventKind,
  kmeshPath,
  kmeshEventLayout as layout,
} from '../../src/tables/gen/layouts.ts';

export interface EventFields {
  kind: keyof typeof kmeshEventKind;
  cookie: number;
  outbound?: boolean;
  path?: keyof typeof kmeshPath;
  reason?: keyof typeof kmeshCloseReason;
  netns?: number;
  workload?: number;
  service?: number;
  /** Four numbers, or sixteen. */
  local?: readonly number[];
  remote?: readonly number[];
  localPort?: number;
  remotePort?: number;
  sent?: number;
  received?: number;
  timeNanoseconds?: number;
  durationNanoseconds?: number;
  roundTrip?: number;
  retransmissions?: number;
  dialled?: readonly number[];
  dialledPort?: number;
  attested?: boolean;
  peerIdentity?: number;
}

/** Records of `struct kmesh_event`, as delivered by the ring. */
export function encodeEvents(events: readonly EventFields[]): Uint8Array {
  const bytes = new Uint8Array(events.length * layout.size);
  const view = new DataView(bytes.buffer);
  events.forEach((event, index) => {
    const at = index * layout.size;
    const wide = (field: number, value: number) => view.setBigUint64(at + field, BigInt(value), true);
    wide(layout.timeNs, event.timeNanoseconds ?? 0);
    wide(layout.netnsCookie, event.netns ?? 1);
    wide(layout.socketCookie, event.cookie);
    wide(layout.durationNs, event.durationNanoseconds ?? 0);
    wide(layout.bytesSent, event.sent ?? 0);
    wide(layout.bytesReceived, event.received ?? 0);
    bytes.set(address(event.dialled ?? [10, 96, 0, 1]), at + layout.dialled);
    view.setUint16(at + layout.dialledPortBe, event.dialledPort ?? 80);
    bytes.set(address(event.local ?? [10, 0, 0, 1]), at + layout.local);
    bytes.set(address(event.remote ?? [10, 0, 0, 2]), at + layout.remote);
    view.setUint16(at + layout.localPortBe, event.localPort ?? 41000);
    view.setUint16(at + layout.remotePortBe, event.remotePort ?? 8080);
    view.setUint32(at + layout.service, event.service ?? 0, true);
    view.setUint32(at + layout.workload, event.workload ?? 0, true);
    view.setUint32(at + layout.attested, event.attested ? 1 : 0, true);
    view.setUint32(at + layout.peerIdentity, event.peerIdentity ?? 0, true);
    view.setUint32(at + layout.srttUs, event.roundTrip ?? 0, true);
    view.setUint32(at + layout.minRttUs, 0xffff_ffff, true);
    view.setUint32(at + layout.retransmissions, event.retransmissions ?? 0, true);
    bytes[at + layout.kind] = kmeshEventKind[event.kind];
    bytes[at + layout.direction] =
      event.outbound === false ? kmeshDirection.inbound : kmeshDirection.outbound;
    bytes[at + layout.path] = kmeshPath[event.path ?? 'kernel'];
    bytes[at + layout.closeReason] = kmeshCloseReason[event.reason ?? 'normal'];
  });
  return bytes;
}

function address(numbers: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(16);
  if (numbers.length === 16) bytes.set(numbers);
  else {
    bytes.set([0xff, 0xff], 10);
    bytes.set(numbers, 12);
  }
  return bytes;
}
