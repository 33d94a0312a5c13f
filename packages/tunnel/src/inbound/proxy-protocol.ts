import { KmeshError } from '@kmesh/api';
import { parseIp, type SocketTarget } from '@kmesh/orchestration';
import type { EndpointAddress } from '../engine/events.ts';

const SIGNATURE = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const VERSION_2_PROXY = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
/** Source SPIFFE id as text (contract 6.8). */
const TLV_IDENTITY = 0xd0;

/**
 * Encodes a PROXY protocol v2 header (contract 6.8). If the families differ, both addresses are written as IPv6.
 *
 * @throws KmeshError `KMESH_TUNNEL_PROXY_HEADER` when an address is invalid, or the identity is too long.
 */
export function proxyHeader(
  source: EndpointAddress,
  destination: SocketTarget,
  identity: string | undefined,
): Buffer {
  const from = parseIp(source.ip);
  const to = parseIp(destination.ip);
  if (from === undefined || to === undefined) {
    const wrong = from === undefined ? source.ip : destination.ip;
    throw new KmeshError('KMESH_TUNNEL_PROXY_HEADER', `"${wrong}" is not an IP address`);
  }
  const wide = from.family === 6 || to.family === 6;
  const addresses = Buffer.alloc(wide ? 36 : 12);
  const size = wide ? 16 : 4;
  writeIp(addresses, 0, from, wide);
  writeIp(addresses, size, to, wide);
  addresses.writeUInt16BE(source.port, 2 * size);
  addresses.writeUInt16BE(destination.port, 2 * size + 2);
  const text = Buffer.from(identity ?? '', 'utf8');
  if (text.length > 2048) {
    throw new KmeshError(
      'KMESH_TUNNEL_PROXY_HEADER',
      `an identity of ${text.length} bytes does not fit (2048)`,
    );
  }
  const tlv =
    identity === undefined ? Buffer.alloc(0) : Buffer.concat([Buffer.from([TLV_IDENTITY, 0, 0]), text]);
  if (tlv.length > 0) tlv.writeUInt16BE(text.length, 1);
  const head = Buffer.alloc(16);
  SIGNATURE.copy(head);
  head[12] = VERSION_2_PROXY;
  head[13] = wide ? TCP_OVER_IPV6 : TCP_OVER_IPV4;
  head.writeUInt16BE(addresses.length + tlv.length, 14);
  return Buffer.concat([head, addresses, tlv]);
}

function writeIp(into: Buffer, at: number, ip: NonNullable<ReturnType<typeof parseIp>>, wide: boolean): void {
  if (!wide) {
    into.writeUInt32BE(ip.a, at);
    return;
  }
  if (ip.family === 4) {
    into.writeUInt16BE(0xffff, at + 10);
    into.writeUInt32BE(ip.a, at + 12);
    return;
  }
  for (const [index, word] of [ip.a, ip.b, ip.c, ip.d].entries()) into.writeUInt32BE(word, at + 4 * index);
}
