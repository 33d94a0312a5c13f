import type { TerminationReason } from './backoff.ts';

/** Plain counters of one xDS client, for the metrics of ambient contract 15. They only ever grow. */
export interface XdsCounters {
  /** Ended streams and failed connections by reason. */
  readonly terminations: Record<TerminationReason, number>;
  /** Responses by type URL. */
  readonly messages: Map<string, number>;
  /** Bytes of resource payloads by type URL. */
  readonly messageBytes: Map<string, number>;
  acknowledged: number;
  rejected: number;
  rejectedResources: number;
}

/** A control plane that invents type URLs must not fill the memory with counters. */
const maximumTypes = 16;

/** Counters at zero. */
export function createCounters(): XdsCounters {
  return {
    terminations: { ConnectionError: 0, Reconnect: 0, Error: 0, Complete: 0 },
    messages: new Map(),
    messageBytes: new Map(),
    acknowledged: 0,
    rejected: 0,
    rejectedResources: 0,
  };
}

/** Counts one response. */
export function countResponse(counters: XdsCounters, typeUrl: string, payloadBytes: number): void {
  const { messages, messageBytes } = counters;
  const url = messages.has(typeUrl) || messages.size < maximumTypes ? typeUrl : 'other';
  messages.set(url, (messages.get(url) ?? 0) + 1);
  messageBytes.set(url, (messageBytes.get(url) ?? 0) + payloadBytes);
}
