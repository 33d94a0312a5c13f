import type { NativeTunnelEvent } from '@kmesh/runtime';

/** Numbers of the engine's events; `EventType` in the addon. */
export const eventType = {
  accepted: 1,
  acceptFailed: 2,
  sessionReady: 3,
  sessionLimit: 4,
  sessionDraining: 5,
  sessionClosed: 6,
  request: 7,
  flowOpened: 8,
  flowClosed: 9,
  bytes: 10,
  sourceNotKept: 11,
} as const;

/** Why a flow ended; `CloseReason` in the addon. */
export const flowEndReason = {
  complete: 0,
  connectFailed: 1,
  connectTimeout: 2,
  httpStatus: 3,
  retry: 4,
  reset: 5,
  aborted: 6,
  sessionLost: 7,
  setupFailed: 8,
} as const;

/** Why a session ended; `SessionEnd` in the addon. */
export const sessionEndReason = {
  closed: 0,
  connectFailed: 1,
  connectTimeout: 2,
  tlsFailed: 3,
  http2Failed: 4,
  pingTimeout: 5,
  aborted: 6,
  setupFailed: 7,
  carrierFailed: 8,
} as const;

/** OpenSSL's verdict "certificate revoked", as {@link SessionEnd.code} of a failed handshake. */
export const revokedVerdict = 23;

export interface EndpointAddress {
  readonly ip: string;
  readonly port: number;
}

/** An accepted socket, not read yet. `id` is that of its flow (plaintext) or session (HBONE). */
export interface Accepted {
  readonly id: number;
  readonly peer: EndpointAddress;
  readonly local: EndpointAddress;
  /** Before redirection; the local address where nothing redirected. */
  readonly original: EndpointAddress;
}

/** A CONNECT (or other) request on a served session. Only the headers that the mesh defines are kept. */
export interface Request {
  readonly flow: number;
  readonly method: string;
  readonly authority: string;
  readonly baggage: readonly string[];
  readonly forwarded: readonly string[];
  readonly forwardedNetwork: readonly string[];
}

export interface FlowEnd {
  /** One of {@link flowEndReason}. */
  readonly reason: number;
  /** errno, HTTP status or HTTP/2 error code, by reason. */
  readonly code: number;
  /** Near to far: what the client sent. */
  readonly bytesUp: number;
  readonly bytesDown: number;
}

export interface SessionReady {
  /** Streams that the peer allows at once; 0 on the serving side. */
  readonly streamLimit: number;
  /** URI names of the peer's leaf. */
  readonly peerNames: readonly string[];
  /** Verified chain in DER, leaf first, anchor last. */
  readonly peerChain: readonly Uint8Array[];
}

export interface SessionEnd {
  /** One of {@link sessionEndReason}. */
  readonly reason: number;
  readonly code: number;
  readonly text: string;
}

export function readAccepted(event: NativeTunnelEvent): Accepted {
  return {
    id: event[1],
    peer: { ip: event[7] as string, port: event[3] },
    local: { ip: event[8] as string, port: event[4] },
    original: { ip: event[9] as string, port: event[5] },
  };
}

export function readRequest(event: NativeTunnelEvent): Request {
  const baggage: string[] = [];
  const forwarded: string[] = [];
  const forwardedNetwork: string[] = [];
  for (let at = 9; at + 1 < event.length; at += 2) {
    const value = event[at + 1] as string;
    if (event[at] === 'baggage') baggage.push(value);
    else if (event[at] === 'forwarded') forwarded.push(value);
    else if (event[at] === 'x-forwarded-network') forwardedNetwork.push(value);
  }
  return {
    flow: event[1],
    method: event[7] as string,
    authority: event[8] as string,
    baggage,
    forwarded,
    forwardedNetwork,
  };
}

export function readFlowEnd(event: NativeTunnelEvent): FlowEnd {
  return { reason: event[2], code: event[3], bytesUp: event[4], bytesDown: event[5] };
}

export function readSessionReady(event: NativeTunnelEvent): SessionReady {
  const hasChain = Array.isArray(event[7]);
  return {
    streamLimit: event[2],
    peerChain: hasChain ? (event[7] as Uint8Array[]) : [],
    peerNames: event.slice(hasChain ? 8 : 7) as string[],
  };
}

export function readSessionEnd(event: NativeTunnelEvent): SessionEnd {
  return { reason: event[2], code: event[3], text: (event[7] as string | undefined) ?? '' };
}
