import { randomBytes } from 'node:crypto';
import type { Workload } from '@kmesh/api';
import { formatBaggage } from './baggage.ts';
import { formatForwarded } from './forwarded.ts';

/** Which CONNECT of a call: the only one, or the outer or inner one through another network's gateway. */
export type ConnectLayer = 'single' | 'outer' | 'inner';

/** What the headers of a CONNECT describe. */
export interface ConnectDescription {
  readonly source: Workload;
  readonly clientIp: string;
  readonly clientPort: number;
  /** Host name of the addressed service, when there is one. */
  readonly serviceHostname: string | undefined;
  readonly traceparent: string;
  /** The own network; told only inside the inner request, there also when it is empty. */
  readonly network: string;
}

/** The headers of a CONNECT besides its pseudo-headers (contract 6.2). */
export function connectHeaders(
  description: ConnectDescription,
  layer: ConnectLayer = 'single',
): Record<string, string> {
  const { source, clientIp, clientPort, serviceHostname, traceparent, network } = description;
  const headers: Record<string, string> = {
    baggage: formatBaggage(source),
    forwarded: formatForwarded(clientIp, clientPort, serviceHostname),
    traceparent,
  };
  if (layer === 'inner') headers['x-forwarded-network'] = network;
  return headers;
}

/** A fresh `traceparent`, not sampled: `00-<32 hex>-<16 hex>-00`. */
export function newTraceparent(): string {
  const hex = randomBytes(24).toString('hex');
  return `00-${hex.slice(0, 32)}-${hex.slice(32)}-00`;
}
