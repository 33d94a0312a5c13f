import type { Service } from '@kmesh/api';
import { formatSocketAddress, ipFamily } from '../state/ip.ts';
import type { FailureCategory, RouteTrace, SocketTarget } from './failure.ts';
import type {
  DoubleHboneDecision,
  HboneDecision,
  OutboundDecision,
  RefusedDecision,
  ResolveHostnameDecision,
  TcpDecision,
} from './outbound-decision.ts';
import type { Upstream } from './upstream.ts';

type Unaddressed =
  | Omit<TcpDecision, 'nextHop'>
  | Omit<HboneDecision, 'nextHop'>
  | Omit<DoubleHboneDecision, 'nextHop'>;

/**
 * Finishes a decision with the address of the chosen endpoint: at once, after a resolution, or not at all.
 *
 * @param authorityIsEndpoint the CONNECT authority is the endpoint's own address and target port
 */
export function withAddress(
  decision: Unaddressed,
  upstream: Upstream,
  nextHopPort: number,
  callIp: string,
  authorityIsEndpoint: boolean,
  trace: RouteTrace | undefined,
): OutboundDecision {
  const { address } = upstream;
  if (address.kind === 'gateway') {
    const message = `${upstream.workload.uid} has no address that can be dialled.`;
    return refuse('NoValidDestination', message, decision.service, trace);
  }
  const authorityPort = authorityIsEndpoint ? upstream.port : undefined;
  if (address.kind === 'hostname') {
    trace?.push(`host name ${address.hostname} has to be resolved first`);
    return {
      kind: 'resolveHostname',
      hostname: address.hostname,
      preferredFamily: ipFamily(callIp),
      nextHopPort,
      authorityPort,
      pending: decision,
      workload: upstream.workload,
      service: decision.service,
    };
  }
  return complete(decision, { ip: address.ip, port: nextHopPort }, authorityPort, trace);
}

/** The final decision once the host name of a {@link ResolveHostnameDecision} is known to mean `ip` (contract 7.5). */
export function withResolvedAddress(
  decision: ResolveHostnameDecision,
  ip: string,
): TcpDecision | HboneDecision | DoubleHboneDecision {
  return complete(decision.pending, { ip, port: decision.nextHopPort }, decision.authorityPort, undefined);
}

function complete(
  decision: Unaddressed,
  nextHop: SocketTarget,
  authorityPort: number | undefined,
  trace: RouteTrace | undefined,
): TcpDecision | HboneDecision | DoubleHboneDecision {
  trace?.push(`${decision.kind} to ${formatSocketAddress(nextHop.ip, nextHop.port)}`);
  if (decision.kind === 'hbone' && authorityPort !== undefined) {
    return { ...decision, nextHop, authority: formatSocketAddress(nextHop.ip, authorityPort) };
  }
  return { ...decision, nextHop };
}

/** A refusal, told to the trace. */
export function refuse(
  category: FailureCategory,
  message: string,
  service: Service | undefined,
  trace: RouteTrace | undefined,
): RefusedDecision {
  trace?.push(`refused (${category}): ${message}`);
  return { kind: 'refused', category, message, service };
}
