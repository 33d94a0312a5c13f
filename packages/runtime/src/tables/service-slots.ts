import type { Service, Workload } from '@kmesh/api';
import {
  backendEndpoints,
  type Candidate,
  candidatesOf,
  eligibleCandidates,
  formatRoutePick,
  ipFamily,
  type LocalitySource,
  type MeshView,
  type ResolvedBackend,
  routeOf,
  serviceWaypoints,
} from '@kmesh/orchestration';
import { buildAliasTable, type EndpointRange } from './endpoints.ts';

/** An endpoint of a slot before it is encoded. Without `ip` the tunnel path serves the workload. */
export interface EndpointChoice {
  readonly ip: string | undefined;
  readonly port: number;
  /** The choice passed to the tunnel path: the workload's uid, or a text of `formatRoutePick`. */
  readonly workloadUid: string;
  /** An HBONE workload of this node: reached directly only if the verdict is allow. */
  readonly verdict?: boolean;
}

/** One slot before it is encoded: `other` gets the draws of 2^32 above `threshold`. */
export interface EndpointSlot {
  readonly choice: EndpointChoice;
  readonly other: EndpointChoice;
  readonly threshold: number;
}

/** The endpoints of one service port for one family of the dialled address. */
export type PortSlots =
  /** No endpoint is available: refuse. */
  | { readonly kind: 'none' }
  /** Every endpoint needs the tunnel path. */
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'slots'; readonly slots: readonly EndpointSlot[] };

/** A service port as seen by the clients of a namespace. */
interface DialledPort {
  readonly service: Service;
  readonly port: number;
  readonly family: 4 | 6;
  readonly clientNamespace: string;
}

/** An item of which slots are made. */
interface SlotItem {
  /** `undefined`: the tunnel path serves or refuses `pick`. */
  readonly candidate: Candidate | undefined;
  readonly direct: boolean;
  readonly weight: number;
  readonly pick: string;
}

/**
 * Compiles the alias table of a service port from the same candidates, load-balancing mode, weights and routes as
 * `resolveOutbound` (contract 7.3, 7.4; docs/routes.md). A draw here is final: if the drawn endpoint is not reachable
 * by plain TCP of the dialled family, the tunnel path is given the choice.
 */
export function compilePort(
  view: MeshView,
  node: LocalitySource,
  { service, port, family, clientNamespace }: DialledPort,
): PortSlots {
  const route = routeOf(view, { service, port, clientNamespace });
  const items =
    route?.kind === 'applied'
      ? routedItems(view, node, route.backends, family)
      : balancedItems(view, node, service, port, family);
  if (items.length === 0) return { kind: 'none' };
  // Nothing to choose here: the tunnel path draws.
  if (!items.some(({ direct }) => direct)) return { kind: 'tunnel' };
  const choices = items.map(choiceOf);
  const slots: EndpointSlot[] = [];
  for (const { item, alias, threshold } of buildAliasTable(items.map(({ weight }) => weight))) {
    const [choice, other] = [choices[item], choices[alias]];
    if (choice !== undefined && other !== undefined) slots.push({ choice, other, threshold });
  }
  return { kind: 'slots', slots };
}

function balancedItems(
  view: MeshView,
  node: LocalitySource,
  service: Service,
  port: number,
  family: 4 | 6,
): SlotItem[] {
  const candidates = candidatesOf(view, service, { port, preferredFamily: family, source: node });
  return eligibleCandidates(candidates, service.loadBalancer, node)
    .filter(({ weight }) => weight > 0)
    .map((candidate) => ({
      candidate,
      direct: isDirect(candidate, node, family),
      weight: candidate.weight,
      pick: candidate.workload.uid,
    }));
}

/** Returns the endpoints of all backends, each with its share; the tunnel path refuses a share without endpoints. */
function routedItems(
  view: MeshView,
  node: LocalitySource,
  backends: readonly ResolvedBackend[],
  family: 4 | 6,
): SlotItem[] {
  const items: SlotItem[] = [];
  const total = backends.reduce((sum, { weight }) => sum + weight, 0);
  const endpoints = backends.map((backend) =>
    backendEndpoints(view, backend, node, family).filter(({ weight }) => weight > 0),
  );
  const serves = new Map<string, number>();
  for (const { workload } of endpoints.flat()) serves.set(workload.uid, (serves.get(workload.uid) ?? 0) + 1);
  let served = false;
  for (const [index, backend] of backends.entries()) {
    const candidates = endpoints[index] ?? [];
    const share = backend.weight / total;
    if (candidates.length === 0) {
      served ||= backend.target !== undefined && serviceWaypoints(backend.target.service).length > 0;
      const pick = formatRoutePick(backend, '');
      items.push({ candidate: undefined, direct: false, weight: share, pick });
      continue;
    }
    served = true;
    const sum = candidates.reduce((capacity, { weight }) => capacity + weight, 0);
    for (const candidate of candidates) {
      const { uid } = candidate.workload;
      // Only the tunnel path can attribute an endpoint that is behind two backends.
      const known = serves.get(uid) === 1;
      items.push({
        candidate,
        direct: known && isDirect(candidate, node, family),
        weight: (share * candidate.weight) / sum,
        pick: known ? uid : formatRoutePick(backend, uid),
      });
    }
  }
  return served ? items : [];
}

function isDirect({ workload, address }: Candidate, node: LocalitySource, family: 4 | 6): boolean {
  if (workload.network !== node.network) return false;
  if (workload.protocol !== 'TCP' && !isOnNode(workload, node)) return false;
  return address.kind === 'ip' && ipFamily(address.ip) === family;
}

/** Returns whether this is a directly dialled HBONE workload whose policies this node's kernel can know. */
export function isOnNode(workload: Workload, node: LocalitySource): boolean {
  return (
    node.node !== '' &&
    workload.node === node.node &&
    workload.networkMode === 'Standard' &&
    workload.applicationTunnel === undefined
  );
}

function choiceOf({ candidate, direct, pick }: SlotItem): EndpointChoice {
  const ip = candidate?.address.kind === 'ip' ? candidate.address.ip : undefined;
  return {
    ip: direct ? ip : undefined,
    port: candidate?.targetPort ?? 0,
    workloadUid: pick,
    ...(direct && candidate?.workload.protocol === 'HBONE' ? { verdict: true } : {}),
  };
}

interface ServicePort {
  range4: bigint;
  range6: bigint;
  /** Slots of the frontends that balance over it: one for each address and view. */
  readonly slots: number[];
}

/** Service ports by id, with their endpoint ranges and the frontends that contain these. */
export class ServicePorts {
  readonly #flip: (slot: number, family: 4 | 6, range: bigint) => void;
  readonly #ports = new Map<number, ServicePort>();
  #next = 1;

  /** @param flip changes the range of one family in a frontend, by one store */
  constructor(flip: (slot: number, family: 4 | 6, range: bigint) => void) {
    this.#flip = flip;
  }

  /** Returns a new id, with empty ranges. Ids are not reused. */
  add(): number {
    const id = this.#next++;
    this.#ports.set(id, { range4: 0n, range6: 0n, slots: [] });
    return id;
  }

  /** Makes every later connect draw from `range`; undefined refuses. Each frontend changes by one store. */
  flip(id: number, family: 4 | 6, range: EndpointRange | undefined): void {
    const port = this.#ports.get(id);
    if (port === undefined) return;
    const word = range === undefined ? 0n : (BigInt(range.size) << 32n) | BigInt(range.base);
    if (family === 4) port.range4 = word;
    else port.range6 = word;
    for (const slot of port.slots) this.#flip(slot, family, word);
  }

  /** Returns the endpoint range of a port; empty: no endpoint is available. */
  rangeOf(id: number, family: 4 | 6): EndpointRange {
    const { range4, range6 } = this.ranges(id);
    const word = family === 4 ? range4 : range6;
    return { family, base: Number(word & 0xffff_ffffn), size: Number(word >> 32n) };
  }

  /** Returns the ranges of a port as stored in frontends. */
  ranges(id: number): { readonly range4: bigint; readonly range6: bigint } {
    return this.#ports.get(id) ?? { range4: 0n, range6: 0n };
  }

  /** Applies later flips to this frontend too; the caller must write its ranges in the same turn. */
  attach(id: number, slot: number): void {
    this.#ports.get(id)?.slots.push(slot);
  }

  /** Stops applying flips to this frontend. */
  detach(id: number, slot: number): void {
    const slots = this.#ports.get(id)?.slots;
    const index = slots?.indexOf(slot) ?? -1;
    if (index >= 0) slots?.splice(index, 1);
  }

  /** Forgets a port to which no frontend leads. */
  remove(id: number): void {
    this.#ports.delete(id);
  }
}
