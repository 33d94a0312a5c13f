import { randomBytes } from 'node:crypto';
import type { Workload } from '@kmesh/api';
import { formatBaggage, formatForwarded, identityUriOf } from '@kmesh/orchestration';
import type { EndpointAddress } from '../engine/events.ts';

const baggageOf = new WeakMap<Workload, string>();

/** Returns the `baggage` of a workload, cached per resource. */
export function cachedBaggage(workload: Workload): string {
  let text = baggageOf.get(workload);
  if (text === undefined) {
    text = formatBaggage(workload);
    baggageOf.set(workload, text);
  }
  return text;
}

const identityOf = new WeakMap<Workload, string>();

/** Returns the SPIFFE id of a workload, cached per resource. */
export function cachedIdentityUri(workload: Workload): string {
  let uri = identityOf.get(workload);
  if (uri === undefined) {
    uri = identityUriOf(workload);
    identityOf.set(workload, uri);
  }
  return uri;
}

let entropy = '';
let entropyUsed = 0;

/** Returns version 00 with random trace and parent, not sampled (contract 6.2). */
function randomTraceparent(): string {
  if (entropyUsed + 48 > entropy.length) {
    entropy = randomBytes(6144).toString('hex');
    entropyUsed = 0;
  }
  const middle = entropyUsed + 32;
  const trace = entropy.slice(entropyUsed, middle);
  entropyUsed += 48;
  return `00-${trace}-${entropy.slice(middle, entropyUsed)}-00`;
}

/** Returns {@link connectFields} split around the client's port, without the value of `traceparent`. */
export function connectFieldsAroundPort(
  authority: string,
  source: Workload,
  clientIp: string,
  serviceHostname: string | undefined,
): { readonly before: string; readonly after: string } {
  const end = `:0"`;
  const forwarded = formatForwarded(clientIp, 0, serviceHostname);
  const port = forwarded.indexOf(end) + 1;
  return {
    before: `:method\0CONNECT\0:authority\0${authority}\0baggage\0${cachedBaggage(source)}\0forwarded\0${forwarded.slice(0, port)}`,
    after: `${forwarded.slice(port + 1)}\0traceparent\0`,
  };
}

/** Returns exactly the fields of a CONNECT in contract 6.2: alternating names and values, separated by NUL. */
export function connectFields(
  authority: string,
  source: Workload,
  client: EndpointAddress,
  serviceHostname: string | undefined,
  forwardedNetwork?: string,
): string {
  const forwarded = formatForwarded(client.ip, client.port, serviceHostname);
  const fields = `:method\0CONNECT\0:authority\0${authority}\0baggage\0${cachedBaggage(source)}\0forwarded\0${forwarded}\0traceparent\0${randomTraceparent()}`;
  return forwardedNetwork === undefined ? fields : `${fields}\0x-forwarded-network\0${forwardedNetwork}`;
}
