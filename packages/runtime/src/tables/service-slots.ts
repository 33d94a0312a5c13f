import type { Service, Workload } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import { type Candidate, candidatesOf, eligibleCandidates, ipFamily } from '@kmesh/orchestration';
import { buildAliasTable } from './alias-table.ts';

/** One endpoint slot before it is encoded. Without `ip` the tunnel path serves the workload. */
export interface EndpointSlot {
  readonly ip: string | undefined;
  readonly port: number;
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
 * (contract 7.3, 7.4). What is drawn here is not drawn again: of endpoints that plain TCP of the dialled family does not
 * reach the tunnel path is given the choice.
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
  const items = eligible
    .filter(({ weight }) => weight > 0)
    .map((candidate) => ({ candidate, direct: isDirect(candidate, node, family) }));
  if (items.length === 0) return { kind: 'none' };
  // Then there is nothing to choose here: the tunnel path draws.
  if (!items.some(({ direct }) => direct)) return { kind: 'tunnel' };
  const table = buildAliasTable(items.map(({ candidate }) => candidate.weight));
  return {
    kind: 'slots',
    slots: table.map(({ item, alias, threshold }) => slotOf(items[item], alias, threshold)),
  };
}

function isDirect({ workload, address }: Candidate, node: LocalitySource, family: 4 | 6): boolean {
  if (workload.network !== node.network) return false;
  if (workload.protocol !== 'TCP' && !isOnNode(workload, node)) return false;
  return address.kind === 'ip' && ipFamily(address.ip) === family;
}

/** An HBONE workload whose policies this node's kernel can know, and that is spoken to as it is dialled. */
export function isOnNode(workload: Workload, node: LocalitySource): boolean {
  return (
    node.node !== '' &&
    workload.node === node.node &&
    workload.networkMode === 'Standard' &&
    workload.applicationTunnel === undefined
  );
}

function slotOf(
  item: { readonly candidate: Candidate; readonly direct: boolean } | undefined,
  alias: number,
  threshold: number,
): EndpointSlot {
  const candidate = item?.candidate;
  const ip = candidate?.address.kind === 'ip' ? candidate.address.ip : undefined;
  return {
    ip: item?.direct === true ? ip : undefined,
    port: candidate?.targetPort ?? 0,
    workloadUid: candidate?.workload.uid ?? '',
    alias,
    threshold,
    ...(item?.direct === true && candidate?.workload.protocol === 'HBONE' ? { verdict: true } : {}),
  };
}
