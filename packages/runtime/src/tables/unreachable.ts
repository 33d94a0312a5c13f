/** A place of the map `unreachable` is found by this many bits of a hash. */
const PLACE_SHIFT = 20;
/** Times in the map are in units of 2^30 nanoseconds. */
const SECOND_BITS = 30n;

/** Whether first packets to a workload's port went unanswered of late: `is_unreachable` of bpf/unreachable.h. */
export function isUnreachable(
  map: { get(key: Uint8Array): Uint8Array | undefined } | undefined,
  workload: number,
  port: number,
): boolean {
  // The programs hash the port as it is on the wire.
  const portBe = ((port & 0xff) << 8) | (port >> 8);
  const hash = (Math.imul(workload, 0x9e37_79b1) ^ Math.imul(portBe, 0x85eb_ca6b)) >>> 0;
  const key = new DataView(new ArrayBuffer(4));
  key.setUint32(0, hash >>> PLACE_SHIFT, true);
  const value = map?.get(new Uint8Array(key.buffer));
  if (value === undefined) return false;
  const until = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
  return until !== 0 && Number(process.hrtime.bigint() >> SECOND_BITS) < until;
}
