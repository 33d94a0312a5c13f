import type { Service, Workload } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import { type Candidate, candidatesOf, eligibleCandidates, ipFamily } from '@kmesh/orchestration';
import { buildAliasTable } from './alias-table.ts';

/** One endpoint slot before it is encoded. Without `ip` the slot sends its draws to the tunnel path. */
export interface EndpointSlot {
  readonly ip: string | undefined;
  readonly port: number;
  /** Empty for tunnel slots. */
  readonly workloadUid: string;
  readonly alias: number;
  readonly threshold: number;
  /** An HBONE workload of this node: only where the verdict is allow. */
  readonly verdict?: boolean;
}

/** The endpoints of one service port for one family of the dialled address. */
type PortSlots =
  /** Nothing can answer: refuse. */
  | { readonly kind: 'none' }
  /** Every endpoint needs the tunnel path. */
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'slots'; readonly slots: readonly EndpointSlot[] };

/**
 * The alias table of a service port: the same candidates, load-balancing mode and weights as `resolveOutbound`
 * (contract 7.3, 7.4). Endpoints that plain TCP of the dialled family does not reach keep their weight in one slot that
 * sends its draws to the tunnel path.
 */
export function compilePort(
  view: MeshView,
  node: LocalitySource,
  service: Service,
  port: number,
  family: 4 | 6,
): PortSlots {
  const candidates = candidatesOf(view, service, { port, preferredFamily: family, source: node });
  const eligible = eligibleCandidates(candidates, service.loadBalancer, node);
  const items: { candidate: Candidate | undefined; weight: number }[] = [];
  let tunnelWeight = 0;
  for (const candidate of eligible) {
    if (candidate.weight <= 0) continue;
    if (isDirect(candidate, node, family)) items.push({ candidate, weight: candidate.weight });
    else tunnelWeight += candidate.weight;
  }
  if (tunnelWeight > 0) {
    if (items.length === 0) return { kind: 'tunnel' };
    items.push({ candidate: undefined, weight: tunnelWeight });
  }
  if (items.length === 0) return { kind: 'none' };
  const table = buildAliasTable(items.map(({ weight }) => weight));
  return {
    kind: 'slots',
    slots: table.map(({ item, alias, threshold }) => slotOf(items[item]?.candidate, alias, threshold)),
  };
}

function isDirect({ workload, address }: Candidate, node: LocalitySource, family: 4 | 6): boolean {
  if (workload.network !== node.network) return false;
  if (workload.protocol !== 'TCP' && !isOnNode(workload, node)) return false;
  return address.kind === 'ip' && ipFamily(address.ip) === family;
}

/** An HBONE workload whose policies this node's kernel can know. */
export function isOnNode(workload: Workload, node: LocalitySource): boolean {
  return node.node !== '' && workload.node === node.node && workload.networkMode === 'Standard';
}

function slotOf(candidate: Candidate | undefined, alias: number, threshold: number): EndpointSlot {
  const ip = candidate?.address.kind === 'ip' ? candidate.address.ip : undefined;
  return {
    ip,
    port: candidate?.targetPort ?? 0,
    workloadUid: candidate?.workload.uid ?? '',
    alias,
    threshold,
    ...(candidate?.workload.protocol === 'HBONE' ? { verdict: true } : {}),
  };
}
