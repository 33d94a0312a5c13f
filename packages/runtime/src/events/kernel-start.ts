import type { Identity, Workload } from '@kmesh/api';
import type {
  AddressedService,
  ConnectionStart,
  CountedBytes,
  Reporter,
  RoutedConnection,
} from '@kmesh/probe';
import { addressOfWords, endpointText } from './address-text.ts';

/** An address as its four 32-bit words (in the machine's order, signed) and a port. */
export interface RawEndpoint {
  readonly word0: number;
  readonly word1: number;
  readonly word2: number;
  readonly word3: number;
  readonly port: number;
}

/** What a kernel connection is called. The address texts are only made when a log line needs them. */
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
  /** What the application dialled, where the kernel chose another endpoint for it. */
  readonly dialled: RawEndpoint | undefined;
  readonly routed: RoutedConnection | undefined;
  readonly earlier: CountedBytes | undefined;
  /** The client's identity where the kernel attests both ends. */
  readonly sourceIdentity: Identity | undefined;
  /** Of both ends, see {@link flowHash}. */
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

/** `ip:port`, IPv6 in brackets. */
function rawEndpointText(endpoint: RawEndpoint): string {
  return endpointText(rawAddressText(endpoint), endpoint.port);
}

/** The address without its port. */
export function rawAddressText({ word0, word1, word2, word3 }: RawEndpoint): string {
  return addressOfWords(fromNetwork(word0), fromNetwork(word1), fromNetwork(word2), fromNetwork(word3));
}

/** Network order to the order of a little-endian machine. */
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

/** A number for a connection's two ends: the same from both sides. Not unique; compare the ends too. */
export function flowHash(client: RawEndpoint, server: RawEndpoint): number {
  let hash = Math.imul(client.word3 ^ Math.imul(client.port, 0x9e3779b1), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15) ^ server.word3 ^ Math.imul(server.port, 0x27d4eb2f), 0xc2b2ae35);
  hash ^=
    Math.imul(client.word0 ^ client.word1, 0x165667b1) ^ Math.imul(server.word0 ^ server.word1, 0x2545f491);
  hash ^= client.word2 ^ Math.imul(server.word2, 0x9e3779b1);
  return hash ^ (hash >>> 13);
}
