import { writeAddress } from './address-bytes.ts';
import { kmeshHandoffKeyLayout as keyLayout, kmeshPickLayout } from './gen/layouts.ts';

/** The map `picks`; `BpfMap` is one. */
interface PickMap {
  get(key: Uint8Array): Uint8Array | undefined;
  delete(key: Uint8Array): boolean;
}

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
  const key = new DataView(new ArrayBuffer(keyLayout.size));
  key.setBigUint64(keyLayout.netnsCookie, cookie, true);
  writeAddress(key, keyLayout.client, client.ip);
  key.setUint16(keyLayout.clientPortBe, client.port);
  const bytes = new Uint8Array(key.buffer);
  const value = map.get(bytes);
  if (value === undefined) return undefined;
  map.delete(bytes);
  return new DataView(value.buffer, value.byteOffset).getUint32(kmeshPickLayout.workload, true);
}
