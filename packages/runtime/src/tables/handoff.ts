import { isIPv4 } from 'node:net';
import { writeAddress } from './address-bytes.ts';
import { kmeshHandoffKeyLayout as keyLayout, kmeshHandoffPodLayout, kmeshPickLayout } from './gen/layouts.ts';

/** The map `handoff_pods`; `BpfMap` is one. */
interface HandoffPodMap {
  set(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): boolean;
}

/**
 * The pods whose tunnelled connections the connect hook sends straight to their proxy: those whose proxy listens, with
 * the address that such a connection goes to and comes from, one of each family.
 */
export class HandoffPodTable {
  readonly #map: HandoffPodMap;

  constructor(map: HandoffPodMap) {
    this.#map = map;
  }

  /**
   * Replaces what is known of a pod. Without an address of a family connections of that family are left to capture.
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

  /** From this instant on the pod's connections are left to capture. */
  delete(cookie: bigint): void {
    this.#map.delete(keyOf(cookie));
  }
}

function keyOf(cookie: bigint): Uint8Array {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigUint64(0, cookie, true);
  return key;
}

/** The map `picks`; `BpfMap` is one. */
interface PickMap {
  take(key: Uint8Array, into: Uint8Array): Uint8Array | undefined;
}

/** Used again for each connection. */
const key = new DataView(new ArrayBuffer(keyLayout.size));
const keyBytes = new Uint8Array(key.buffer);
const value = new DataView(new ArrayBuffer(kmeshPickLayout.size));
const valueBytes = new Uint8Array(value.buffer);

/**
 * Takes the endpoint that the connect hook chose for a connection which the tunnel path serves: the id of its workload, or
 * `undefined` when it chose none. Asked once for each connection, when it is accepted.
 *
 * @param cookie of the client's network namespace
 * @param client as the proxy sees its peer
 */
export function takePick(
  map: PickMap,
  cookie: bigint,
  client: { readonly ip: string; readonly port: number },
): number | undefined {
  key.setBigUint64(keyLayout.netnsCookie, cookie, true);
  writeAddress(key, keyLayout.client, client.ip);
  key.setUint16(keyLayout.clientPortBe, client.port);
  return map.take(keyBytes, valueBytes) && value.getUint32(kmeshPickLayout.workload, true);
}
