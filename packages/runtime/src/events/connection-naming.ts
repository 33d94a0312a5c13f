import type { CountedBytes, EarlyDeny } from '@kmesh/probe';
import { kmeshPath, kmeshReason } from '../tables/gen/layouts.ts';
import {
  endpointText,
  flowHash,
  KernelConnectionStart,
  type KernelEventReader,
  type RawEndpoint,
  rawAddressText,
  sameEndpoint,
} from './kernel-event.ts';
import type { KernelEventResolver } from './kernel-resolver.ts';

/**
 * Names the endpoints and services of kernel connections, once each, as of the time they opened. A server side on this
 * node is matched to its client side, whose identity the kernel attests.
 */
export class ConnectionNaming {
  readonly #resolver: KernelEventResolver;
  readonly #clients = new LocalClients();

  constructor(resolver: KernelEventResolver) {
    this.#resolver = resolver;
  }

  /**
   * Names the connection of an event; `undefined` if it is reported elsewhere or not at all.
   *
   * @param earlier bytes that an earlier daemon counted of it
   */
  start(event: KernelEventReader, earlier: CountedBytes | undefined): KernelConnectionStart | undefined {
    return event.outbound ? this.#outbound(event, earlier) : this.#inbound(event, earlier);
  }

  /** Returns whether the client's side of an accepted connection has been reported. */
  knowsClient(event: KernelEventReader): boolean {
    return this.#clients.find(event.remote, event.local, openedAt(event)) !== undefined;
  }

  /** Returns whether the client of an accepted connection is on this node, so that its side will be reported. */
  expectsClient(event: KernelEventReader): boolean {
    const resolver = this.#resolver;
    if (event.path === kmeshPath.tunnel) return false;
    const source = resolver.workloadByAddress(rawAddressText(event.remote), openedAt(event));
    return resolver.isServedHere === undefined || (source !== undefined && resolver.isServedHere(source));
  }

  /**
   * Notes when a client's side ended (nanoseconds of CLOCK_MONOTONIC); its server's side may be reported a while later.
   */
  depart(start: KernelConnectionStart, endedAt: number): void {
    this.#clients.depart(start, endedAt);
  }

  /** Notes that one more batch of events was handled. */
  nextBatch(): void {
    this.#clients.nextBatch();
  }

  /** Notes that one more report of live flows was taken. */
  nextReport(): void {
    this.#clients.nextReport();
  }

  clear(): void {
    this.#clients.clear();
  }

  /** Describes a connect that the hook refused; the socket had no port yet. */
  refusal(event: KernelEventReader): EarlyDeny {
    const { dialled } = event;
    const ip = rawAddressText(dialled);
    const client = this.#resolver.podWorkload(event.netnsCookie, event.timeNanoseconds);
    const family = ip.includes(':');
    const own = client?.addresses.find((address) => address.includes(':') === family);
    const bare = event.closeReason === kmeshReason.refusedBare;
    const refusal =
      bare || client === undefined ? undefined : this.#resolver.refusal?.(client, ip, dialled.port);
    return {
      reporter: 'source',
      sourceAddress: endpointText(own ?? (family ? '::' : '0.0.0.0'), 0),
      destinationAddress: endpointText(ip, dialled.port),
      error: bare
        ? 'The tunnel path must serve this connection but cannot: this pod has no capture rules, and the connection cannot be handed to its proxy.'
        : (refusal?.error ?? 'Nothing in the mesh serves this address and port.'),
      routed: refusal?.routed,
      pod: client,
    };
  }

  #outbound(event: KernelEventReader, earlier: CountedBytes | undefined): KernelConnectionStart | undefined {
    if (event.path !== kmeshPath.kernel) return undefined;
    const resolver = this.#resolver;
    const time = openedAt(event);
    const server = event.remote;
    const source = resolver.podWorkload(event.netnsCookie, time);
    const destination =
      resolver.workload(event.workload, time) ?? resolver.workloadByAddress(rawAddressText(server), time);
    const service =
      event.service === 0
        ? undefined
        : (resolver.service(event.service, time) ??
          resolver.dialledService?.(source, rawAddressText(event.dialled)));
    const { port } = event.dialled;
    const start = new KernelConnectionStart(
      'source',
      event.service !== 0 ? 'balanced' : destination === undefined ? 'passthrough' : 'workload',
      event.local,
      server,
      source,
      destination,
      service,
      earlier,
      event.attested ? source : undefined,
      event.service === 0 || port === 0 ? undefined : event.dialled,
      source && destination && service && resolver.routed?.(source, { service, port }, destination),
    );
    this.#clients.add(start);
    return start;
  }

  #inbound(event: KernelEventReader, earlier: CountedBytes | undefined): KernelConnectionStart | undefined {
    if (event.path === kmeshPath.tunnel) return undefined;
    const resolver = this.#resolver;
    const server = event.local;
    const peer = event.remote;
    const time = openedAt(event);
    const client = this.#clients.find(peer, server, time);
    if (client === undefined && !this.#arrivedDirectly(event, peer)) return undefined;
    const destination =
      resolver.podWorkload(event.netnsCookie, time) ?? resolver.workload(event.workload, time);
    const source =
      client === undefined ? resolver.workloadByAddress(rawAddressText(peer), time) : client.source;
    const counted = client !== undefined || (source !== undefined && resolver.isServedHere?.(source));
    return new KernelConnectionStart(
      'destination',
      counted ? undefined : 'plaintext',
      peer,
      server,
      source,
      destination,
      // The service that the client dialled; if unknown it is derived from the port (ambient contract 7.7).
      client?.destinationService ?? (destination && resolver.inboundService(destination, server.port)),
      earlier,
      event.attested ? (resolver.identity?.(event.peerIdentity) ?? source) : undefined,
    );
  }

  #arrivedDirectly(event: KernelEventReader, peer: RawEndpoint): boolean {
    if (event.path !== kmeshPath.kernel) return false;
    return this.#resolver.arrivedDirectly?.(event.netnsCookie, rawAddressText(peer), peer.port) ?? false;
  }
}

/** Returns when the connection's handshake began. */
function openedAt(event: KernelEventReader): number {
  return event.timeNanoseconds - event.durationNanoseconds;
}

/** A server may close some time after its client; until then live-flow reports contain its side. */
const batchesKept = 8;
const reportsKept = 2;
/** Above this number only clients of the last batches are kept. */
const maximumDeparted = 16_384;
/** A client's end may be reported shortly before the handshake completes on the server's side. */
const handshakeNanoseconds = 100_000_000;

/** Clients that closed during one batch. */
interface Departed {
  readonly starts: KernelConnectionStart[];
  readonly batch: number;
  readonly report: number;
}

/**
 * Index of the client sides of this node's kernel connections by the two endpoints of a connection, to find the client
 * of a connection that a server accepted.
 */
class LocalClients {
  /** Almost always one start per hash; the rare others are chained. */
  readonly #byHash = new Map<number, KernelConnectionStart | KernelConnectionStart[]>();
  /** Closed clients by batch, the latest last: the server side's event may come later. */
  #departed: Departed[] = [];
  #departedCount = 0;
  #batch = 0;
  #report = 0;

  add(start: KernelConnectionStart): void {
    const { hash } = start;
    const present = this.#byHash.get(hash);
    if (present === undefined) this.#byHash.set(hash, start);
    else this.#byHash.set(hash, Array.isArray(present) ? [...present, start] : [present, start]);
  }

  /**
   * Returns the latest client with exactly these endpoints whose connection was open at `openedAt`, so that a reused
   * port does not match an earlier connection.
   *
   * @param openedAt nanoseconds of CLOCK_MONOTONIC
   */
  find(client: RawEndpoint, server: RawEndpoint, openedAt: number): KernelConnectionStart | undefined {
    const present = this.#byHash.get(flowHash(client, server));
    if (present === undefined) return undefined;
    const matches = (start: KernelConnectionStart) =>
      sameEndpoint(start.client, client) &&
      sameEndpoint(start.server, server) &&
      (start.endedAt === undefined || start.endedAt + handshakeNanoseconds >= openedAt);
    if (Array.isArray(present)) return present.findLast(matches);
    return matches(present) ? present : undefined;
  }

  /**
   * Marks a connection as closed; it is forgotten some batches and reports later.
   *
   * @param endedAt nanoseconds of CLOCK_MONOTONIC
   */
  depart(start: KernelConnectionStart, endedAt: number): void {
    start.endedAt = endedAt;
    const last = this.#departed.at(-1);
    if (last?.batch === this.#batch && last.report === this.#report) last.starts.push(start);
    else this.#departed.push({ starts: [start], batch: this.#batch, report: this.#report });
    this.#departedCount++;
  }

  /** Notes that one more batch was handled. */
  nextBatch(): void {
    this.#batch++;
    this.#forget();
  }

  /** Notes that one more report of live flows was taken. */
  nextReport(): void {
    this.#report++;
    this.#forget();
  }

  clear(): void {
    this.#byHash.clear();
    this.#departed = [];
    this.#departedCount = 0;
  }

  #forget(): void {
    for (let oldest = this.#departed[0]; oldest !== undefined; oldest = this.#departed[0]) {
      if (this.#batch - oldest.batch <= batchesKept) return;
      if (this.#report - oldest.report < reportsKept && this.#departedCount <= maximumDeparted) return;
      this.#departed.shift();
      this.#departedCount -= oldest.starts.length;
      for (const start of oldest.starts) this.#remove(start);
    }
  }

  #remove(start: KernelConnectionStart): void {
    const { hash } = start;
    const present = this.#byHash.get(hash);
    if (present === start) this.#byHash.delete(hash);
    else if (Array.isArray(present)) {
      const left = present.filter((other) => other !== start);
      if (left.length === 0) this.#byHash.delete(hash);
      else this.#byHash.set(hash, left);
    }
  }
}

/** The end of an accepted connection that came before any event of its client's side. */
export interface HeldServer {
  /** One record. */
  readonly record: Uint8Array;
  /** Bytes that an earlier daemon had counted of it when its end came. */
  readonly earlier: CountedBytes | undefined;
  /** Hash of both endpoints, see `flowHash`. */
  readonly hash: number;
  /** Time of arrival, in milliseconds of the clock. */
  readonly heldAt: number;
}

/**
 * If both endpoints are on this node, both sides are reported: the client's mostly in the same batch, or by a report of
 * live flows if it stays open. A connection dialled by a pod's proxy has no client side in the kernel: its record is
 * delayed by this time, which is therefore short.
 */
const maximumHeldMilliseconds = 2000;
/** Maximum number of held records; beyond it the oldest is released. */
const maximumHeld = 4096;

/**
 * Holds accepted connections that have ended until their client's side is reported, which names the dialled service and
 * the client. Records whose client does not come are released after a while, so none is lost. Constant work per record.
 */
export class HeldServers {
  readonly #byHash = new Map<number, HeldServer[]>();
  /** Oldest first. */
  readonly #order = new Set<HeldServer>();

  /** Holds a record; returns the oldest if there is no room for both. */
  hold(server: HeldServer): HeldServer | undefined {
    const alike = this.#byHash.get(server.hash);
    if (alike === undefined) this.#byHash.set(server.hash, [server]);
    else alike.push(server);
    this.#order.add(server);
    if (this.#order.size <= maximumHeld) return undefined;
    const [oldest] = this.#order;
    if (oldest !== undefined) this.#remove(oldest);
    return oldest;
  }

  /** Takes the records that wait for a client with this hash; ends of other connections may be among them. */
  takeAlike(hash: number): readonly HeldServer[] {
    const alike = this.#byHash.get(hash);
    if (alike === undefined) return [];
    this.#byHash.delete(hash);
    for (const server of alike) this.#order.delete(server);
    return alike;
  }

  /** Returns milliseconds until {@link HeldServers.takeOverdue} has the next; `undefined` when nothing waits. */
  overdueIn(now: number): number | undefined {
    const [oldest] = this.#order;
    return oldest && Math.max(0, oldest.heldAt + maximumHeldMilliseconds - now);
  }

  /** Takes the records that have waited long enough; all of them if no time is given. */
  takeOverdue(now = Number.POSITIVE_INFINITY): readonly HeldServer[] {
    const overdue: HeldServer[] = [];
    for (const server of this.#order) {
      if (now - server.heldAt < maximumHeldMilliseconds) break;
      overdue.push(server);
    }
    for (const server of overdue) this.#remove(server);
    return overdue;
  }

  #remove(server: HeldServer): void {
    this.#order.delete(server);
    const left = this.#byHash.get(server.hash)?.filter((other) => other !== server) ?? [];
    if (left.length === 0) this.#byHash.delete(server.hash);
    else this.#byHash.set(server.hash, left);
  }
}
