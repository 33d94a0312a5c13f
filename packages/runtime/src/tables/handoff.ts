import { isIPv4 } from 'node:net';
import { writeAddress } from './address-bytes.ts';
import { kmeshHandoffPodLayout } from './gen/layouts.ts';

/** The map `handoff_pods`; satisfied by `BpfMap`. */
interface HandoffPodMap {
  set(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): boolean;
}

/**
 * The pods whose tunnelled connections the connect hook redirects directly to their listening proxy, with
 * one address of each family, the source and destination of such a connection.
 */
export class HandoffPodTable {
  readonly #map: HandoffPodMap;

  constructor(map: HandoffPodMap) {
    this.#map = map;
  }

  /**
   * Replaces a pod's addresses. Without an address of a family, connections of that family are left to capture.
   *
   * @throws SystemCallError `KMESH_BPF_MAP_FAILED` when the table is full: capture then takes all connections.
   */
  set(cookie: bigint, addresses: readonly string[]): void {
    const value = new DataView(new ArrayBuffer(kmeshHandoffPodLayout.size));
    const ipv4 = addresses.find((address) => isIPv4(address));
    const ipv6 = addresses.find((address) => !isIPv4(address));
    if (ipv4 !== undefined) writeAddress(value, kmeshHandoffPodLayout.address4, ipv4);
    if (ipv6 !== undefined) writeAddress(value, kmeshHandoffPodLayout.address6, ipv6);
    this.#map.set(keyOf(cookie), new Uint8Array(value.buffer));
  }

  /** Leaves the pod's connections to capture from this instant on. */
  delete(cookie: bigint): void {
    this.#map.delete(keyOf(cookie));
  }
}

function keyOf(cookie: bigint): Uint8Array {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigUint64(0, cookie, true);
  return key;
}
