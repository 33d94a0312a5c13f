import { ipFamily, isLoopback } from '@kmesh/orchestration';
import type { CidrTable } from './cidr-table.ts';
import type { ConnectReason } from './counters.ts';
import type { EndpointArray, EndpointRange, PlacedEndpoint } from './endpoints.ts';
import type { FrontendEntry } from './frontend-slots.ts';
import type { FrontendTable } from './frontend-table.ts';

/** A possible outcome of a connect, as the connect hook counts it. */
export interface ConnectOutcome {
  readonly reason: ConnectReason;
  /** Fraction of all draws; the shares of one question add up to 1. */
  readonly share: number;
  /** Id of the drawn workload, which no later layer draws again; 0: none. */
  readonly workload: number;
  /** Address that the socket dials instead of the requested one. */
  readonly address?: { readonly ip: string; readonly port: number };
}

/** A connect of an enrolled pod. */
interface ConnectQuestion {
  readonly ip: string;
  readonly port: number;
  /** Whether capture serves the pod's connections to port 53. */
  readonly captured: boolean;
  /** Id of the pod's own workload. */
  readonly own: number;
}

/** Lookups in the tables of the connect hook, as the hook does them. */
interface ConnectTables {
  /** Returns the entry that decides an address and port; a CIDR applies to addresses without an entry. */
  frontend(ip: string, port: number): Pick<FrontendEntry, 'action' | 'target'> | undefined;
  range(servicePort: number, family: 4 | 6): EndpointRange;
  readonly endpoints: Pick<EndpointArray, 'read'>;
  /** Returns whether the pod may dial a workload of this node, bypassing its own capture. */
  mayStay(workload: number, port: number): boolean;
  /** Returns whether SYNs to a port went unanswered recently. */
  isUnreachable(workload: number, port: number): boolean;
  /** Whether an address that is not in the tables may still belong to the mesh. */
  readonly incomplete: boolean;
}

/**
 * Returns the possible outcomes of a connect by the current tables, in the order of `decide` in bpf/connect.bpf.c;
 * test/differential compares both. Assumes a socket without a mark or a bound address.
 */
export function connectOutcomes(tables: ConnectTables, question: ConnectQuestion): readonly ConnectOutcome[] {
  const { ip, port, captured, own } = question;
  const certain = (reason: ConnectReason, workload = 0): readonly ConnectOutcome[] => [
    { reason, share: 1, workload },
  ];
  if (isLoopback(ip) || ip === '0.0.0.0' || ip === '::') return certain('outsideLoopback');
  if (captured && port === 53) return certain('tunnelDns');
  const entry = tables.frontend(ip, port);
  switch (entry?.action) {
    case undefined:
      return certain(tables.incomplete ? 'tunnelIncomplete' : 'outsideUnknown');
    case 'workload':
      return certain('kernelWorkload');
    case 'verdict':
      return certain(refusalOf(tables, entry.target, port) ?? 'kernelWorkload');
    case 'refuse':
      return certain('refusedFrontend');
    case 'outside':
      return certain('outsidePassthrough');
    case 'tunnel':
      return certain('tunnelFrontend');
    case 'balance': {
      const range = tables.range(entry.target, ipFamily(ip));
      if (range.size === 0) return certain('refusedEmpty');
      return drawnFrom(tables.endpoints, range).map((endpoint) => outcomeOf(tables, endpoint, own));
    }
  }
}

/**
 * Returns the entry by which the connect hook decides an address and port dialled from a namespace: `find_elsewhere` of
 * bpf/connect.bpf.c. `namespaceId` is undefined for a namespace that the tables do not know.
 */
export function frontendFor(
  frontends: Pick<FrontendTable, 'entriesOf'>,
  cidrs: Pick<CidrTable, 'find'>,
  dial: { readonly ip: string; readonly port: number; readonly namespaceId: number | undefined },
): Pick<FrontendEntry, 'action' | 'target'> | undefined {
  const { ip, port, namespaceId } = dial;
  const entries = frontends.entriesOf({ ip });
  const at = (wantedPort: number): FrontendEntry | undefined => {
    const ofPort = entries.filter((entry) => entry.port === wantedPort);
    const general = ofPort.find((entry) => entry.namespaceId === 0);
    if (!general?.scoped) return general;
    return ofPort.find((entry) => entry.namespaceId === namespaceId) ?? general;
  };
  const found = at(port) ?? at(0);
  if (found !== undefined) return found;
  const cidr = cidrs.find(ip, namespaceId);
  if (cidr === undefined) return undefined;
  const ports = cidr.hasPorts ? frontends.entriesOf({ serviceId: cidr.decision.service }) : [];
  return ports.find((entry) => entry.port === port) ?? cidr.decision;
}

/** Returns why a workload of this node is not reached in the kernel; `undefined` if it is. */
function refusalOf(tables: ConnectTables, workload: number, port: number): ConnectReason | undefined {
  if (!tables.mayStay(workload, port)) return 'tunnelVerdict';
  return tables.isUnreachable(workload, port) ? 'tunnelUnreachable' : undefined;
}

function outcomeOf(tables: ConnectTables, endpoint: PlacedEndpoint, own: number): ConnectOutcome {
  const { workload, ip, port, verdict, share } = endpoint;
  if (port === 0) return { reason: 'tunnelSlot', share, workload: 0 };
  if (ip === undefined) return { reason: 'tunnelEndpoint', share, workload };
  if (verdict && workload === own) return { reason: 'tunnelOwn', share, workload };
  const refusal = verdict ? refusalOf(tables, workload, port) : undefined;
  if (refusal !== undefined) return { reason: refusal, share, workload };
  return { reason: 'kernelBalanced', share, workload, address: { ip, port } };
}

/** Returns the endpoints that may be drawn from a range, each once, with its share. */
function drawnFrom(endpoints: Pick<EndpointArray, 'read'>, range: EndpointRange): PlacedEndpoint[] {
  const drawn = new Map<string, PlacedEndpoint>();
  for (let index = 0; index < range.size; index++) {
    for (const endpoint of endpoints.read(range, index)) {
      const { workload, ip, port } = endpoint;
      const key = `${workload} ${ip ?? ''} ${port}`;
      const share = (drawn.get(key)?.share ?? 0) + endpoint.share / range.size;
      drawn.set(key, { ...endpoint, share });
    }
  }
  return [...drawn.values()];
}

/** Shift of the hash that indexes the map `unreachable`. */
const PLACE_SHIFT = 20;
/** Times in the map are in units of 2^30 nanoseconds. */
const SECOND_BITS = 30n;

/** Returns whether SYNs to a workload's port went unanswered recently: `is_unreachable` of bpf/unreachable.h. */
export function isUnreachable(
  map: { get(key: Uint8Array): Uint8Array | undefined } | undefined,
  workload: number,
  port: number,
): boolean {
  // The programs hash the port in network byte order.
  const portBe = ((port & 0xff) << 8) | (port >> 8);
  const hash = (Math.imul(workload, 0x9e37_79b1) ^ Math.imul(portBe, 0x85eb_ca6b)) >>> 0;
  const key = new DataView(new ArrayBuffer(4));
  key.setUint32(0, hash >>> PLACE_SHIFT, true);
  const value = map?.get(new Uint8Array(key.buffer));
  if (value === undefined) return false;
  const until = new DataView(value.buffer, value.byteOffset).getUint32(0, true);
  return until !== 0 && Number(process.hrtime.bigint() >> SECOND_BITS) < until;
}
