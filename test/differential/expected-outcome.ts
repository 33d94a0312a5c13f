import type { Workload } from '@kmesh/api';
import { type MeshView, resolveOutbound } from '@kmesh/orchestration';

/** What orchestration allows for one dialled address and port. */
export interface ExpectedOutcome {
  /** `ip|port` of plain TCP, with the share of the draws. */
  readonly direct: ReadonlyMap<string, number>;
  /** Some draws need the tunnel: the kernel path keeps the dialled address for them. */
  readonly tunnel: boolean;
  /** The connection must fail with ECONNREFUSED. */
  readonly refused: boolean;
  /** The tables cannot say it exactly, so the tunnel path may be asked instead. */
  readonly mayTunnel: boolean;
}

/** Draws tried per target; more than the sum of any service's weights, so that no endpoint is missed. */
const DRAWS = 128;

/** All outcomes of `resolveOutbound` for a dial, by trying every draw. */
export function expectedOutcome(view: MeshView, source: Workload, ip: string, port: number): ExpectedOutcome {
  const direct = new Map<string, number>();
  let tunnel = false;
  let refused = false;
  for (let draw = 0; draw < DRAWS; draw++) {
    const decision = resolveOutbound(
      view,
      { source, clientIp: source.addresses[0] ?? '', destination: { ip, port } },
      { random: () => (draw + 0.5) / DRAWS },
    );
    if (decision.kind === 'tcp') {
      const key = `${decision.nextHop.ip}|${decision.nextHop.port}`;
      // An endpoint of the other family cannot be dialled by this socket.
      if (decision.nextHop.ip.includes(':') !== ip.includes(':')) tunnel = true;
      else direct.set(key, (direct.get(key) ?? 0) + 1 / DRAWS);
    } else if (decision.kind === 'refused' && decision.category === 'NoHealthyUpstream') {
      refused = true;
    } else {
      // HBONE, a gateway, a host name to resolve, or a refusal that the tunnel path explains.
      tunnel = true;
    }
  }
  return { direct, tunnel, refused, mayTunnel: isAmbiguous(view, source, ip) };
}

/** The cases for which design §1 sends a connection to the tunnel path although plain TCP would do. */
function isAmbiguous(view: MeshView, source: Workload, ip: string): boolean {
  const owner = view.workloadByAddress(source.network, ip);
  const exact = view.servicesByVip(source.network, ip);
  const covering = view.servicesByCidr(source.network, ip).map(({ service }) => service);
  if (owner !== undefined) return owner.waypoint !== undefined || exact.length + covering.length > 0;
  for (const service of [...exact, ...covering]) {
    for (const uid of view.endpoints(`${service.namespace}/${service.hostname}`).keys()) {
      for (const address of view.workload(uid)?.addresses ?? []) {
        if (
          address === ip ||
          view.servicesByCidr(source.network, address).some((entry) => entry.service === service)
        ) {
          return true;
        }
      }
    }
  }
  return false;
}
