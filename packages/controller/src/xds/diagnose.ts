import { status } from '@grpc/grpc-js';
import type { RetryRule, TerminationReason } from './backoff.ts';
import { type ControlPlaneSettings, SettingError } from './control-plane.ts';
import type { StreamEnd } from './stream.ts';

/** Why a stream ended, what to look at, and how to go on. */
export interface Diagnosis {
  readonly reason: TerminationReason;
  readonly rule: RetryRule;
  /** The setting to look at, when one is to blame. */
  readonly setting: string | undefined;
  readonly cause: string;
}

/** Texts of a transport that went away, from either side, including the GOAWAY of a regular reconnect. */
const transportClosed =
  /connection dropped|goaway|rst_stream|refused by server|transport is closing|closing transport|econnreset|epipe|socket hang up|keepalive|draining/i;

const untrusted =
  /unable to (get|verify)|self[- ]signed|unknown ca|certificate (has expired|is not yet valid|signature failure)|CERT_/i;
const wrongName = /does not match certificate|altname|hostname\/ip/i;

/** The diagnosis of an ended stream (ambient contract 3.4, conformance XDS-11, XDS-12). */
export function diagnoseEnd(end: StreamEnd, settings: ControlPlaneSettings): Diagnosis {
  const cause = end.code === status.OK ? 'the control plane ended the stream' : causeText(end);
  if (!end.connected) {
    return { reason: 'ConnectionError', rule: 'double', setting: settingToBlame(cause, settings), cause };
  }
  switch (end.code) {
    case status.OK:
      return { reason: 'Complete', rule: 'atOnce', setting: undefined, cause };
    case status.UNKNOWN:
    case status.CANCELLED:
    case status.DEADLINE_EXCEEDED:
      return { reason: 'Reconnect', rule: 'current', setting: undefined, cause };
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return { reason: 'Error', rule: 'double', setting: settings.token, cause };
    default:
      return transportClosed.test(end.details) && end.code !== status.RESOURCE_EXHAUSTED
        ? { reason: 'Reconnect', rule: 'current', setting: undefined, cause }
        : { reason: 'Error', rule: 'double', setting: undefined, cause };
  }
}

/** The diagnosis of something that failed on this side: a setting, or a response that is no response. */
export function diagnoseError(error: unknown): Diagnosis {
  const cause = error instanceof Error ? error.message : String(error);
  return error instanceof SettingError
    ? { reason: 'Error', rule: 'double', setting: error.setting, cause }
    : { reason: 'Error', rule: 'atOnce', setting: undefined, cause };
}

function causeText(end: StreamEnd): string {
  // Strip what the library puts around the cause of a failed connection.
  const details = end.details
    .replace(/^No connection established\. Last error: /, '')
    .replace(/\. Resolution note: *$/, '')
    .replace(/^(Error: )+/, '')
    .replace(/ \(\d{4}-\d\d-\d\dT[^)]*\)/, '');
  return end.connected ? `${status[end.code] ?? end.code}: ${details}` : details;
}

function settingToBlame(cause: string, settings: ControlPlaneSettings): string {
  if (wrongName.test(cause)) return settings.alternativeHostname;
  if (untrusted.test(cause)) return settings.rootCa;
  return settings.address;
}
