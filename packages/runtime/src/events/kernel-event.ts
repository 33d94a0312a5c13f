import type { Identity, Workload } from '@kmesh/api';
import { formatIp } from '@kmesh/orchestration';
import type {
  AddressedService,
  ConnectionStart,
  CountedBytes,
  Reporter,
  RoutedConnection,
} from '@kmesh/probe';
import { kmeshDirection, kmeshEventLayout as layout } from '../tables/gen/layouts.ts';

/**
 * Reads `struct kmesh_event` records in place: one reader moves over a whole batch, so a record allocates no object.
 * Returned texts and numbers may be kept; the reader itself may not.
 */
export class KernelEventReader {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #count: number;
  #offset = -layout.size;

  /** @param bytes little-endian records of `kmeshEventLayout.size` bytes each */
  constructor(bytes: Uint8Array, count: number) {
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
    this.#bytes = aligned;
    this.#words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
    this.#count = Math.min(count, Math.floor(bytes.byteLength / layout.size));
  }

  /** Moves to the next record; false at the end. */
  next(): boolean {
    this.#offset += layout.size;
    return this.#offset < this.#count * layout.size;
  }

  /** Moves to a record; `next` continues after it. */
  seek(index: number): void {
    this.#offset = index * layout.size;
  }

  get kind(): number {
    return this.#bytes[this.#offset + layout.kind] as number;
  }
  get path(): number {
    return this.#bytes[this.#offset + layout.path] as number;
  }
  get closeReason(): number {
    return this.#bytes[this.#offset + layout.closeReason] as number;
  }
  get outbound(): boolean {
    return this.#bytes[this.#offset + layout.direction] === kmeshDirection.outbound;
  }
  get netnsCookie(): number {
    return this.#wide(layout.netnsCookie);
  }
  get socketCookie(): number {
    return this.#wide(layout.socketCookie);
  }
  /** Nanoseconds of CLOCK_MONOTONIC. */
  get timeNanoseconds(): number {
    return this.#wide(layout.timeNs);
  }
  get durationNanoseconds(): number {
    return this.#wide(layout.durationNs);
  }
  get bytesSent(): number {
    return this.#wide(layout.bytesSent);
  }
  get bytesReceived(): number {
    return this.#wide(layout.bytesReceived);
  }
  get service(): number {
    return this.#word(layout.service);
  }
  get workload(): number {
    return this.#word(layout.workload);
  }
  /** Whether the wire opened the connection, so that both identities are attested. */
  get attested(): boolean {
    return this.#word(layout.attested) !== 0;
  }
  /** Id of an attested client's identity, on the server's side; else 0. */
  get peerIdentity(): number {
    return this.#word(layout.peerIdentity);
  }
  get smoothedRoundTripMicroseconds(): number {
    return this.#word(layout.srttUs);
  }
  get minimalRoundTripMicroseconds(): number {
    const microseconds = this.#word(layout.minRttUs);
    // The kernel's "never measured" is all ones.
    return microseconds === 0xffff_ffff ? 0 : microseconds;
  }
  get retransmissions(): number {
    return this.#word(layout.retransmissions);
  }
  /** The destination that the application dialled. */
  get dialled(): RawEndpoint {
    return this.#endpoint(layout.dialled, layout.dialledPortBe);
  }
  /** The socket's local endpoint. */
  get local(): RawEndpoint {
    return this.#endpoint(layout.local, layout.localPortBe);
  }
  /** The socket's remote endpoint. */
  get remote(): RawEndpoint {
    return this.#endpoint(layout.remote, layout.remotePortBe);
  }

  #endpoint(address: number, port: number): RawEndpoint {
    const words = this.#words;
    const index = (this.#offset + address) >> 2;
    const at = this.#offset + port;
    return {
      word0: words[index] as number,
      word1: words[index + 1] as number,
      word2: words[index + 2] as number,
      word3: words[index + 3] as number,
      port: ((this.#bytes[at] as number) << 8) | (this.#bytes[at + 1] as number),
    };
  }

  #word(field: number): number {
    return (this.#words[(this.#offset + field) >> 2] as number) >>> 0;
  }

  /** Reads 64 bits as a number; the values here stay below 2^53. */
  #wide(field: number): number {
    const index = (this.#offset + field) >> 2;
    return (
      ((this.#words[index] as number) >>> 0) + ((this.#words[index + 1] as number) >>> 0) * 4_294_967_296
    );
  }
}

/** An address as its four 32-bit words (in host byte order, signed) and a port. */
export interface RawEndpoint {
  readonly word0: number;
  readonly word1: number;
  readonly word2: number;
  readonly word3: number;
  readonly port: number;
}

/** Names of a kernel connection. Address texts are only made when a log line needs them. */
export class KernelConnectionStart implements ConnectionStart {
  readonly reporter: Reporter;
  readonly path = 'kernel';
  readonly pathReason: string | undefined;
  readonly client: RawEndpoint;
  readonly server: RawEndpoint;
  readonly source: Workload | undefined;
  readonly destination: Workload | undefined;
  readonly destinationService: AddressedService | undefined;
  readonly securityPolicy = 'unknown';
  /** The dialled destination, if the kernel chose another endpoint for it. */
  readonly dialled: RawEndpoint | undefined;
  readonly routed: RoutedConnection | undefined;
  readonly earlier: CountedBytes | undefined;
  /** The client's identity if the kernel attests both ends. */
  readonly sourceIdentity: Identity | undefined;
  /** Hash of both endpoints, see {@link flowHash}. */
  readonly hash: number;
  /** When its socket closed, in nanoseconds of CLOCK_MONOTONIC; `undefined` while it is open. */
  endedAt: number | undefined;

  constructor(
    reporter: Reporter,
    pathReason: string | undefined,
    client: RawEndpoint,
    server: RawEndpoint,
    source: Workload | undefined,
    destination: Workload | undefined,
    destinationService: AddressedService | undefined,
    earlier: CountedBytes | undefined,
    sourceIdentity: Identity | undefined,
    dialled?: RawEndpoint,
    routed?: RoutedConnection,
  ) {
    this.reporter = reporter;
    this.pathReason = pathReason;
    this.client = client;
    this.server = server;
    this.source = source;
    this.destination = destination;
    this.destinationService = destinationService;
    this.earlier = earlier;
    this.sourceIdentity = sourceIdentity;
    this.dialled = dialled;
    this.routed = routed;
    this.hash = flowHash(client, server);
  }

  get attested(): boolean {
    return this.sourceIdentity !== undefined;
  }

  get sourceAddress(): string {
    return rawEndpointText(this.client);
  }

  get dialledAddress(): string | undefined {
    return this.dialled === undefined ? undefined : rawEndpointText(this.dialled);
  }

  get destinationAddress(): string {
    return rawEndpointText(this.server);
  }
}

/** Formats `ip:port`, IPv6 in brackets. */
function rawEndpointText(endpoint: RawEndpoint): string {
  return endpointText(rawAddressText(endpoint), endpoint.port);
}

/** Formats the address without its port. */
export function rawAddressText({ word0, word1, word2, word3 }: RawEndpoint): string {
  return addressOfWords(fromNetwork(word0), fromNetwork(word1), fromNetwork(word2), fromNetwork(word3));
}

/** Converts network byte order to that of a little-endian machine. */
function fromNetwork(word: number): number {
  return (((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

export function sameEndpoint(left: RawEndpoint, right: RawEndpoint): boolean {
  return (
    left.port === right.port &&
    left.word3 === right.word3 &&
    left.word2 === right.word2 &&
    left.word1 === right.word1 &&
    left.word0 === right.word0
  );
}

/** Returns a hash of a connection's two endpoints, the same from both sides. Not unique; compare the endpoints too. */
export function flowHash(client: RawEndpoint, server: RawEndpoint): number {
  let hash = Math.imul(client.word3 ^ Math.imul(client.port, 0x9e3779b1), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15) ^ server.word3 ^ Math.imul(server.port, 0x27d4eb2f), 0xc2b2ae35);
  hash ^=
    Math.imul(client.word0 ^ client.word1, 0x165667b1) ^ Math.imul(server.word0 ^ server.word1, 0x2545f491);
  hash ^= client.word2 ^ Math.imul(server.word2, 0x9e3779b1);
  return hash ^ (hash >>> 13);
}

/** Formats `ip:port`, IPv6 in brackets. */
export function endpointText(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

/** Formats the sixteen bytes of an address in network order; IPv4 addresses are mapped. */
export function addressText(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return addressOfWords(view.getUint32(0), view.getUint32(4), view.getUint32(8), view.getUint32(12));
}

/** Formats an address of four words, the first one first; IPv4 addresses are mapped. */
function addressOfWords(a: number, b: number, c: number, d: number): string {
  if (a === 0 && b === 0 && c === 0xffff) return formatIp({ family: 4, a: d, b: 0, c: 0, d: 0 });
  return formatIp({ family: 6, a, b, c, d });
}
