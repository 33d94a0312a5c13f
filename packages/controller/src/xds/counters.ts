import type { Logger } from '@kmesh/api';
import { rejectionText } from './requests.ts';
import type { AppliedResponse } from './responses.ts';
import type { TerminationReason } from './retry.ts';

/** Counters of one xDS client, for the metrics of docs/contract.md 15. Monotonic. */
export interface XdsCounters {
  /** Ended streams and failed connections, by reason. */
  readonly terminations: Record<TerminationReason, number>;
  /** Responses by type URL. */
  readonly messages: Map<string, number>;
  /** Bytes of resource payloads by type URL. */
  readonly messageBytes: Map<string, number>;
  acknowledged: number;
  rejected: number;
  rejectedResources: number;
}

const loggedTextLength = 2_000;
/** Bounds the counters if a control plane sends arbitrary type URLs. */
const maximumTypes = 16;

/** Creates counters at zero. */
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

/** Counts and logs how a response was answered; returns whether all of it was accepted. */
export function recordAnswer(response: AppliedResponse, counters: XdsCounters, logger: Logger): boolean {
  const { header, known, rejections, accepted, unknownRemovals } = response;
  const type = header.typeUrl;
  if (!known) logger.warn('ignored an xDS response of an unknown type', { type });
  if (unknownRemovals > 0) {
    logger.debug('xDS response removed unknown names', { type, count: unknownRemovals });
  }
  if (rejections.length > 0) {
    counters.rejected++;
    counters.rejectedResources += rejections.length;
    const problems = rejectionText(rejections, loggedTextLength);
    logger.error('rejected some resources of an xDS response', {
      type,
      accepted,
      rejected: rejections.length,
      problems,
    });
    return false;
  }
  counters.acknowledged++;
  logger.debug('xDS response applied', { type, resources: accepted, removed: response.removed });
  return true;
}
