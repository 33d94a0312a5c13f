import { once } from 'node:events';
import { type Socket, SocketAddress } from 'node:net';
import { endpointText } from '../../network/addresses.ts';

/** Contents of a PROXY v2 header; ambient contract 6.8. */
interface ProxyHeader {
  /** IP of the real client. */
  readonly source: string;
  /** Original destination, `ip:port`. */
  readonly destination: string;
  /** SPIFFE id of the client, TLV 0xD0. */
  readonly identity: string | undefined;
}

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const IDENTITY_TLV = 0xd0;

/** Reads the header from a connection and leaves the following bytes unread. Rejects when there is none. */
export async function readProxyHeader(socket: Socket): Promise<ProxyHeader> {
  const rest = await take(socket, 16);
  if (rest.subarray(0, 12).toString('hex') !== SIGNATURE) throw new Error('no PROXY v2 signature');
  if (rest[12] !== 0x21) throw new Error(`version and command are ${rest[12]}`);
  const six = rest[13] === 0x21;
  const body = await take(socket, rest.readUInt16BE(14));
  const size = six ? 16 : 4;
  const ip = (at: number): string => textOf(body.subarray(at, at + size));
  let identity: string | undefined;
  for (let at = 2 * size + 4; at < body.length; ) {
    const length = body.readUInt16BE(at + 1);
    if (body[at] === IDENTITY_TLV) identity = body.subarray(at + 3, at + 3 + length).toString();
    at += 3 + length;
  }
  const destination = endpointText(ip(size), body.readUInt16BE(2 * size + 2));
  return { source: ip(0), destination, identity };
}

/** Reads exactly `length` bytes; later bytes stay in the socket. */
async function take(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes = socket.read(length) as Buffer | null;
    if (bytes !== null) return bytes;
    await once(socket, 'readable');
  }
}

function textOf(ip: Buffer): string {
  if (ip.length === 4) return ip.join('.');
  const groups = Array.from({ length: 8 }, (_, at) => ip.readUInt16BE(2 * at).toString(16));
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}
