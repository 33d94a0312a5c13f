import { type BackoffSettings, doubledWait, spreadWait } from '@kmesh/api';
import type { ControlPlaneSettings } from '../istiod/control-plane.ts';
import { grpcStatus, statusName } from '../istiod/control-plane.ts';
import type { StreamEnd } from '../istiod/stream.ts';

/** End of a stream, as in the metric `istio_xds_connection_terminations_total` (docs/contract.md 3.4). */
export type TerminationReason = 'ConnectionError' | 'Reconnect' | 'Error' | 'Complete';

/** Delay before the next attempt: twice the last delay, the current delay with a reset afterwards, or none. */
type RetryRule = 'double' | 'current' | 'atOnce';

const settings: BackoffSettings = { firstMilliseconds: 10, maximumMilliseconds: 15_000, jitter: 0.2 };
/** Lifetime after which a stream resets the back-off. */
const goodStreamMilliseconds = 60_000;
/** A shorter stream counts as short. */
const shortStreamMilliseconds = 1_000;
/** Consecutive short streams that are retried without a minimum delay; more would be a busy loop. */
const toleratedShortStreams = 3;

/** Delays between connection attempts: 10 ms to 15 s, each with ±20 % jitter. */
export class Backoff {
  readonly #random: () => number;
  /** Consecutive failures; determines the current delay. */
  #failures = 1;
  #shortStreams = 0;

  /** @param random uniform in [0, 1) */
  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** Returns the delay, in milliseconds, after a stream with this lifetime and rule. */
  next(rule: RetryRule, livedMilliseconds: number): number {
    this.#shortStreams = livedMilliseconds < shortStreamMilliseconds ? this.#shortStreams + 1 : 0;
    if (livedMilliseconds >= goodStreamMilliseconds) this.#failures = 1;
    const wait = Math.max(this.#byRule(rule), rule === 'double' ? 0 : this.#floor());
    return Math.round(spreadWait(settings, wait, this.#random()));
  }

  #byRule(rule: RetryRule): number {
    if (rule === 'double') {
      this.#failures++;
      return doubledWait(settings, this.#failures);
    }
    const delay = rule === 'current' ? doubledWait(settings, this.#failures) : 0;
    this.#failures = 1;
    return delay;
  }

  /** Minimum delay; grows with every short stream beyond the tolerated ones. */
  #floor(): number {
    const excess = this.#shortStreams - toleratedShortStreams;
    return excess <= 0 ? 0 : doubledWait(settings, excess + 1);
  }
}

/** Reason and cause of a stream's end, and the rule for the next attempt. */
export interface Diagnosis {
  readonly reason: TerminationReason;
  readonly rule: RetryRule;
  /** The setting that likely caused the failure, if any. */
  readonly setting: string | undefined;
  readonly cause: string;
}

// grpc-js reports why a connection could not be established as text only.
const untrusted =
  /unable to (get|verify)|self[- ]signed|unknown ca|certificate (has expired|is not yet valid|signature failure)|CERT_/i;
const wrongName = /does not match certificate|altname|hostname\/ip/i;

/** Diagnoses an ended stream (docs/contract.md 3.4, conformance XDS-11, XDS-12). */
export function diagnoseEnd(end: StreamEnd, settings: ControlPlaneSettings): Diagnosis {
  const cause = end.code === grpcStatus.OK ? 'the control plane ended the stream' : causeText(end);
  if (end.failure !== undefined) {
    const { setting } = end.failure;
    return {
      reason: 'Error',
      rule: setting === undefined ? 'atOnce' : 'double',
      setting,
      cause: end.details,
    };
  }
  if (!end.connected) {
    return { reason: 'ConnectionError', rule: 'double', setting: likelySetting(cause, settings), cause };
  }
  switch (end.code) {
    case grpcStatus.OK:
      return { reason: 'Complete', rule: 'atOnce', setting: undefined, cause };
    case grpcStatus.UNKNOWN:
    case grpcStatus.CANCELLED:
    case grpcStatus.DEADLINE_EXCEEDED:
      return { reason: 'Reconnect', rule: 'current', setting: undefined, cause };
    case grpcStatus.UNAUTHENTICATED:
    case grpcStatus.PERMISSION_DENIED:
      return { reason: 'Error', rule: 'double', setting: settings.token, cause };
    case grpcStatus.RESOURCE_EXHAUSTED:
      return { reason: 'Error', rule: 'double', setting: undefined, cause };
    default:
      return end.transportClosed
        ? { reason: 'Reconnect', rule: 'current', setting: undefined, cause }
        : { reason: 'Error', rule: 'double', setting: undefined, cause };
  }
}

/** Diagnoses a failure of the client itself, such as a malformed response. */
export function diagnoseError(error: unknown): Diagnosis {
  const cause = error instanceof Error ? error.message : String(error);
  return { reason: 'Error', rule: 'atOnce', setting: undefined, cause };
}

function causeText(end: StreamEnd): string {
  // Remove the text that the library adds around the cause of a failed connection.
  const details = end.details
    .replace(/^No connection established\. Last error: /, '')
    .replace(/\. Resolution note: *$/, '')
    .replace(/^(Error: )+/, '')
    .replace(/ \(\d{4}-\d\d-\d\dT[^)]*\)/, '');
  return end.connected ? `${statusName(end.code)}: ${details}` : details;
}

function likelySetting(cause: string, settings: ControlPlaneSettings): string {
  if (wrongName.test(cause)) return settings.alternativeHostname;
  if (untrusted.test(cause)) return settings.rootCa;
  return settings.address;
}
