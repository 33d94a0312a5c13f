import { errnoName } from '@kmesh/linux';
import type { ResponseFlag } from '@kmesh/probe';
import { type FlowEnd, revokedVerdict, type SessionEnd } from './engine/events.ts';
import { flowEndReason, sessionEndReason } from './engine/gen/kinds.ts';

/** Reason of a failed connection, for metrics and access log (contract 18). */
export interface Failure {
  readonly flag: ResponseFlag;
  readonly error: string;
}

/** HTTP/2 codes that a peer proxy sends when its application, or the peer itself, reset the stream. */
const RESET_CODES: ReadonlySet<number> = new Set([0, 8, 10]);
const ECONNRESET = 104;
const EPIPE = 32;
const ENOTCONN = 107;

/** Destination of a connection, for error texts. */
export interface FailurePlace {
  /** The peer of the proxy's socket: the next proxy or the application. */
  readonly peer: string;
  /** The destination requested from the next proxy; absent without one. */
  readonly behind?: string | undefined;
}

/** Returns the failure of an ended flow; `undefined` for a normal end. Resets count as normal (contract 6.10). */
export function flowFailure(end: FlowEnd, place: FailurePlace, tunnelled: boolean): Failure | undefined {
  const where = place.peer;
  switch (end.reason) {
    case flowEndReason.complete:
      return undefined;
    case flowEndReason.connectFailed:
      return { flag: 'CONNECT', error: `connection to ${where} failed: ${errnoName(end.code)}` };
    case flowEndReason.connectTimeout:
      return { flag: 'CONNECT', error: `connection to ${where} timed out` };
    case flowEndReason.httpStatus:
      return { flag: 'CONNECT', error: statusText(end.code, where, place.behind) };
    case flowEndReason.unanswered:
      return { flag: 'CONNECT', error: `${where} reset the request unanswered: HTTP/2 error ${end.code}` };
    case flowEndReason.reset: {
      const normal = tunnelled
        ? RESET_CODES.has(end.code) || end.code === ECONNRESET || end.code === EPIPE
        : end.code === ECONNRESET || end.code === EPIPE || end.code === ENOTCONN;
      if (normal) return undefined;
      const detail = end.code > 13 ? errnoName(end.code) : `HTTP/2 error ${end.code}`;
      return { flag: 'CONNECT', error: `copying to or from ${where} failed: ${detail}` };
    }
    case flowEndReason.sessionLost:
      return { flag: 'CONNECT', error: `the connection to the proxy at ${where} was lost` };
    case flowEndReason.setupFailed:
      return { flag: 'CONNECT', error: `no socket for ${where}: ${setupHint(end.code)}` };
    default:
      return { flag: '-', error: 'closed because the proxy stops serving this pod' };
  }
}

/** Returns the failure of an HBONE connection that could not be opened. */
export function sessionFailure(end: SessionEnd, where: string): Failure {
  switch (end.reason) {
    case sessionEndReason.connectTimeout:
      return {
        flag: 'NETWORK_POLICY',
        error: `connection to ${where} timed out; a NetworkPolicy or firewall may block HBONE port 15008`,
      };
    case sessionEndReason.connectFailed:
      return { flag: 'CONNECT', error: `connection to ${where} failed: ${errnoName(end.code)}` };
    case sessionEndReason.setupFailed:
      return { flag: 'CONNECT', error: `no socket for ${where}: ${setupHint(end.code)}` };
    case sessionEndReason.tlsFailed:
      return end.code === revokedVerdict
        ? { flag: 'CERT_REVOKED', error: `the certificate of ${where} is revoked` }
        : { flag: 'TLS_FAILURE', error: `TLS handshake with ${where} failed: ${end.text}` };
    case sessionEndReason.http2Failed:
      return { flag: 'H2_HANDSHAKE_FAILURE', error: `HTTP/2 with ${where} failed: ${end.text}` };
    case sessionEndReason.pingTimeout:
      return { flag: 'CONNECT', error: `${where} stopped answering` };
    case sessionEndReason.carrierFailed:
      return { flag: 'CONNECT', error: `tunnel through ${where} failed: ${end.text}` };
    default:
      return {
        flag: 'CONNECT',
        error: `the connection to ${where} closed${end.text === '' ? '' : `: ${end.text}`}`,
      };
  }
}

function statusText(status: number, where: string, behind = 'this destination'): string {
  if (status === 401) return `${where} answered 401: its authorization policies deny this connection`;
  if (status === 400) return `${where} answered 400: it does not serve ${behind}`;
  if (status === 503) return `${where} answered 503: it cannot reach the application at ${behind}`;
  return `${where} answered CONNECT with status ${status}`;
}

function setupHint(errno: number): string {
  const name = errnoName(errno);
  if (name === 'EMFILE' || name === 'ENFILE') {
    return `${name}, out of file descriptors; raise the limit (ulimit -n) of the proxy`;
  }
  if (name === 'EPERM') return `${name}, the proxy needs CAP_NET_ADMIN and CAP_SYS_ADMIN`;
  return name;
}
