import { eventType, flowEndReason, sessionEndReason } from './gen/kinds.ts';
import type { NativeTunnelExtra } from './native.ts';

/** OpenSSL's verification error "certificate revoked", as {@link SessionEnd.code} of a failed handshake. */
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
  /** The original destination; the local address without redirection. */
  readonly original: EndpointAddress;
  /** Number of the workload chosen by the connect hook; 0: none. */
  readonly pick: number;
}

/** A CONNECT (or other) request on a served session, with only the headers that the mesh defines. */
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
  /** Near to far: bytes from the client. */
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Time since a plan admitted it; absent without a plan. */
  readonly milliseconds?: number | undefined;
}

export interface SessionReady {
  /** Concurrent streams that the peer allows; 0 on the serving side. */
  readonly streamLimit: number;
  /** URI names in the peer's leaf certificate. */
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

/** The end of a handshake in which the peer's certificate is revoked. */
export const revokedEnd: SessionEnd = {
  reason: sessionEndReason.tlsFailed,
  code: revokedVerdict,
  text: 'certificate revoked',
};

/** Offsets in a record: type, id, five numbers, count of texts, and a reference per text. */
const VALUES = 2;
const TEXT_COUNT = 7;
const TEXTS = 8;

/** A batch: the first `count` of the numbers, and what they refer to. */
interface EventNumbers {
  readonly numbers: Float64Array;
  readonly count: number;
  readonly texts: readonly string[];
  readonly extras: readonly NativeTunnelExtra[];
}

/** Reads batches of events in order. Frequent texts are sent once and remembered here. */
export class EventReader {
  readonly #known: string[] = [];
  #numbers: Float64Array = new Float64Array();
  #count = 0;
  #texts: readonly string[] = [];
  #extras: readonly NativeTunnelExtra[] = [];
  #at = 0;
  #next = 0;

  load({ numbers, count, texts, extras }: EventNumbers): void {
    this.#numbers = numbers;
    this.#count = count;
    this.#texts = texts;
    this.#extras = extras;
    this.#next = 0;
  }

  /** Moves to the next event, handling definitions of texts on the way. False at the end. */
  next(): boolean {
    while (this.#next < this.#count) {
      this.#at = this.#next;
      this.#next = this.#at + TEXTS + this.textCount;
      if (this.type !== eventType.textDefined) return true;
      this.#known[this.id] = this.text(0);
    }
    return false;
  }

  get type(): number {
    return this.#numbers[this.#at] ?? 0;
  }

  get id(): number {
    return this.#numbers[this.#at + 1] ?? 0;
  }

  get textCount(): number {
    return this.#numbers[this.#at + TEXT_COUNT] ?? 0;
  }

  /** Returns one of the five numbers. */
  value(index: number): number {
    return this.#numbers[this.#at + VALUES + index] ?? 0;
  }

  /** Returns a text of the event; empty when it has fewer. */
  text(index: number): string {
    if (index >= this.textCount) return '';
    const reference = this.#numbers[this.#at + TEXTS + index] ?? 0;
    return (reference < 0 ? this.#texts[-1 - reference] : this.#known[reference]) ?? '';
  }

  /** Returns the extra that number `index` refers to. */
  extra(index: number): NativeTunnelExtra | undefined {
    return this.#extras[this.value(index)];
  }
}

export function readAccepted(event: EventReader): Accepted {
  return {
    id: event.id,
    peer: { ip: event.text(0), port: event.value(1) },
    local: { ip: event.text(1), port: event.value(2) },
    original: { ip: event.text(2), port: event.value(3) },
    pick: event.value(4),
  };
}

export function readRequest(event: EventReader): Request {
  const baggage: string[] = [];
  const forwarded: string[] = [];
  const forwardedNetwork: string[] = [];
  for (let at = 2; at + 1 < event.textCount; at += 2) {
    const name = event.text(at);
    const value = event.text(at + 1);
    if (name === 'baggage') baggage.push(value);
    else if (name === 'forwarded') forwarded.push(value);
    else if (name === 'x-forwarded-network') forwardedNetwork.push(value);
  }
  return {
    flow: event.id,
    method: event.text(0),
    authority: event.text(1),
    baggage,
    forwarded,
    forwardedNetwork,
  };
}

export function readFlowEnd(event: EventReader): FlowEnd {
  return {
    reason: event.value(0),
    code: event.value(1),
    bytesUp: event.value(2),
    bytesDown: event.value(3),
    milliseconds: event.value(4) < 0 ? undefined : event.value(4),
  };
}

export function readSessionReady(event: EventReader): SessionReady {
  const peerNames: string[] = [];
  for (let index = 0; index < event.textCount; index++) peerNames.push(event.text(index));
  const chain = event.extra(1);
  return {
    streamLimit: event.value(0),
    peerChain: chain === undefined || chain instanceof Float64Array ? [] : chain,
    peerNames,
  };
}

export function readSessionEnd(event: EventReader): SessionEnd {
  return { reason: event.value(0), code: event.value(1), text: event.text(0) };
}
