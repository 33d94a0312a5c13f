import { randomBytes } from 'node:crypto';
import type { Workload } from '@kmesh/api';
import { formatBaggage, formatForwarded } from '@kmesh/orchestration';
import type { EndpointAddress } from '../engine/events.ts';

const baggageOf = new WeakMap<Workload, string>();

/** `baggage` of a workload, made once per resource. */
export function cachedBaggage(workload: Workload): string {
  let text = baggageOf.get(workload);
  if (text === undefined) {
    text = formatBaggage(workload);
    baggageOf.set(workload, text);
  }
  return text;
}

let entropy = Buffer.alloc(0);
let entropyUsed = 0;

/** Version 00, random trace and parent, not sampled (contract 6.2). */
export function randomTraceparent(): string {
  if (entropyUsed + 24 > entropy.length) {
    entropy = randomBytes(6144);
    entropyUsed = 0;
  }
  const hex = entropy.toString('hex', entropyUsed, entropyUsed + 24);
  entropyUsed += 24;
  return `00-${hex.slice(0, 32)}-${hex.slice(32)}-00`;
}

/** The fields of a CONNECT, name and value in turn: exactly those of contract 6.2. */
export function connectFields(
  authority: string,
  source: Workload,
  client: EndpointAddress,
  serviceHostname: string | undefined,
  forwardedNetwork?: string,
): string[] {
  const fields = [
    ':method',
    'CONNECT',
    ':authority',
    authority,
    'baggage',
    cachedBaggage(source),
    'forwarded',
    formatForwarded(client.ip, client.port, serviceHostname),
    'traceparent',
    randomTraceparent(),
  ];
  if (forwardedNetwork !== undefined) fields.push('x-forwarded-network', forwardedNetwork);
  return fields;
}
