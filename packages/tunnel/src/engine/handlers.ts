import type { Accepted, FlowEnd, Request, SessionEnd, SessionReady } from './events.ts';

/** Callbacks for one listener. */
export interface ListenerHandler {
  accepted(accepted: Accepted): void;
  /** Accepting failed for lack of descriptors or memory. The engine tries again. */
  failed(errno: number): void;
}

/** Callbacks for one proxied connection. */
export interface FlowHandler {
  /** Called exactly once, last. */
  closed(end: FlowEnd): void;
  /** Called before {@link closed} if a socket stays open for a while; {@link released} follows it. */
  held?(): void;
  /** The last socket was closed. */
  released?(): void;
  /** The request was not answered, and nothing was read from the client: another session may be tried. */
  retry?(): void;
  /** The response was 200; reported only on request. */
  opened?(baggage: string): void;
  /** Cumulative byte counts. */
  bytes?(up: number, down: number): void;
  /** The client's address could not be used as the source; a local one is used. */
  sourceNotKept?(): void;
}

/** Callbacks for one HTTP/2 connection. */
export interface SessionHandler {
  ready(ready: SessionReady): void;
  /** Called exactly once, last. */
  closed(end: SessionEnd): void;
  request?(request: Request): void;
  limit?(streams: number): void;
  draining?(): void;
  /** Applications read too little: the connection is not read until they have taken some bytes. */
  waits?(): void;
}
