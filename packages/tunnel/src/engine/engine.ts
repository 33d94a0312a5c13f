import { KmeshError } from '@kmesh/api';
import type { NetworkNamespace } from '@kmesh/linux';
import {
  EventReader,
  type FlowEnd,
  readAccepted,
  readFlowEnd,
  readRequest,
  readSessionEnd,
  readSessionReady,
} from './events.ts';
import { eventType, flowEndReason } from './gen/kinds.ts';
import type { FlowHandler, ListenerHandler, SessionHandler } from './handlers.ts';
import {
  type EngineConnect,
  type FlowConnect,
  type NativeTunnel,
  type NativeTunnelConfig,
  type NativeTunnelExtra,
  nativeTunnel,
  type TunnelHandle,
} from './native.ts';
import { type Plan, Plans } from './plans.ts';

/** The parts of a planned request; the client's port goes between the fields. */
interface PlannedRequest {
  readonly session: number;
  /** Maximum number of streams on the session. */
  readonly streams: number;
  readonly before: string;
  readonly after: string;
}

/** Undecided flows wait only for seconds, so few of them can end meanwhile. */
const MAXIMUM_ENDED_EARLY = 4_096;

/**
 * One data thread: the native byte engine with its handlers. It moves every proxied byte; the handlers make all
 * decisions, on the thread that created it.
 */
export class Engine {
  readonly #native: NativeTunnel;
  readonly #handle: TunnelHandle;
  readonly #listeners = new Map<number, ListenerHandler>();
  readonly #flows = new Map<number, FlowHandler>();
  /** Handlers of closed flows with an open socket. */
  readonly #held = new Map<number, FlowHandler>();
  readonly #sessions = new Map<number, SessionHandler>();
  /** Flows that ended before a decision, which is then answered immediately. */
  readonly #endedEarly = new Map<number, FlowEnd>();
  readonly #reader = new EventReader();
  readonly #onError: (error: unknown) => void;
  readonly #plans: Plans;
  #lastId = 0;
  #closed = false;

  /** @throws KmeshError `KMESH_TUNNEL_ENGINE` when the thread cannot be started. */
  constructor(config: NativeTunnelConfig, onError: (error: unknown) => void) {
    this.#native = nativeTunnel();
    this.#onError = onError;
    this.#plans = new Plans((flow) => this.abortFlow(flow), onError);
    const handle = this.#native.tunnelStart(config, (numbers, count, texts, extras) =>
      this.#dispatch(numbers, count, texts, extras),
    );
    if (handle === undefined) {
      throw new KmeshError(
        'KMESH_TUNNEL_ENGINE',
        'the data thread cannot be started: out of threads or descriptors',
      );
    }
    this.#handle = handle;
  }

  /** Number of flows with a handler: connections that this thread carries or decides. */
  get flowCount(): number {
    return this.#flows.size;
  }

  /** Number of listeners whose connections may still arrive, including recently removed ones. */
  get listenerCount(): number {
    return this.#listeners.size;
  }

  /** Number of ended sessions whose peers have not yet acknowledged the last bytes. */
  get unacknowledgedCount(): number {
    return this.#closed ? 0 : this.#native.tunnelUnacknowledged(this.#handle);
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Sets whether the engine keeps the process alive; it does by default. */
  reference(keepAlive: boolean): void {
    if (!this.#closed) this.#native.tunnelReference(this.#handle, keepAlive);
  }

  addNamespace(namespace: NetworkNamespace): number {
    const id = this.#nextId();
    if (!this.#closed) this.#native.tunnelAddNamespace(this.#handle, id, namespace.fd);
    return id;
  }

  removeNamespace(id: number): void {
    if (!this.#closed && id !== 0) this.#native.tunnelRemoveNamespace(this.#handle, id);
  }

  /** Accepts on a listening descriptor, whose ownership passes to the engine. */
  addListener(fd: number, kind: 'outbound' | 'plaintext' | 'hbone', handler: ListenerHandler): number {
    const id = this.#nextId();
    this.#listeners.set(id, handler);
    this.#native.tunnelAddListener(this.#handle, id, fd, kind === 'hbone', kind === 'outbound');
    return id;
  }

  /** Stops listening. Connections already accepted by the kernel are still delivered to the handler. */
  removeListener(id: number): void {
    if (!this.#closed) this.#native.tunnelRemoveListener(this.#handle, id);
  }

  /** Sets the handler of flow `id`, which decides it and gets its events. */
  handleFlow(id: number, handler: FlowHandler): void {
    const ended = this.#endedEarly.get(id);
    if (ended === undefined) {
      this.#flows.set(id, handler);
      return;
    }
    this.#endedEarly.delete(id);
    queueMicrotask(() => this.#guard(() => handler.closed(ended)));
  }

  handleSession(id: number, handler: SessionHandler): void {
    this.#sessions.set(id, handler);
  }

  /** Connects an undecided flow by TCP. */
  connectFlow(flow: number, connect: FlowConnect): void {
    if (!this.#closed) this.#native.tunnelFlowConnect(this.#handle, flow, connect, 0, 0);
  }

  /** Like {@link connectFlow}, also for all similar requests of its session; see {@link Engine.version}. */
  connectFlows(flow: number, connect: FlowConnect, version: number, plan: Plan): void {
    if (!this.#closed)
      this.#native.tunnelFlowConnect(this.#handle, flow, connect, this.#keep(version, plan), version);
  }

  /** Sends an undecided flow as a request on a session; `fields` alternates names and values, separated by NUL. */
  requestFlow(flow: number, session: number, fields: string, report = false): void {
    if (!this.#closed) this.#native.tunnelFlowRequest(this.#handle, flow, session, fields, report);
  }

  /**
   * Sends accepted sockets that equal an undecided flow, except for the client's port, as requests on a session. Call
   * it before sending the flow itself. See {@link Engine.version}.
   */
  planRequests(flow: number, request: PlannedRequest, version: number, plan: Plan): void {
    const number = this.#closed ? 0 : this.#keep(version, plan);
    if (number === 0) return;
    const { session, streams, before, after } = request;
    this.#native.tunnelFlowPlan(this.#handle, flow, number, version, session, streams, before, after);
  }

  /** Version of the inputs of plans: read it before deciding, and pass it with the plan. */
  get version(): number {
    return this.#plans.version;
  }

  /**
   * Withdraws all plans, because their inputs have changed. When this returns the engine applies none of them, and
   * {@link Plan.served} or {@link Plan.passed} has been called for every connection that they admitted.
   */
  takeBack(): void {
    if (this.#closed) return;
    this.#plans.withdraw();
    const admitted = this.#native.tunnelTakeBack(this.#handle, this.#plans.version);
    this.#plans.delivering(() => this.#plans.reportAdmitted(admitted));
  }

  /** Registers a plan and returns its number; 0 if its version is outdated or there are too many plans. */
  #keep(version: number, plan: Plan): number {
    if (version !== this.#plans.version) return 0;
    if (!this.#plans.full) return this.#plans.add(plan);
    this.takeBack();
    return 0;
  }

  /** Rejects an undecided flow: a request with `status`, an accepted socket by closing it. */
  rejectFlow(flow: number, status = 0): void {
    if (!this.#closed) this.#native.tunnelFlowReject(this.#handle, flow, status);
  }

  /** Cuts a flow immediately; an open one with resets on both sides. */
  abortFlow(flow: number): void {
    if (!this.#closed) this.#native.tunnelFlowAbort(this.#handle, flow);
  }

  /** Ends a flow by FIN if every received byte was passed on; otherwise use {@link abortFlow}. */
  leaveFlow(flow: number): void {
    if (!this.#closed) this.#native.tunnelFlowLeave(this.#handle, flow);
  }

  acceptSession(session: number, context: TunnelHandle, trustDomain: string): void {
    if (!this.#closed) this.#native.tunnelSessionAccept(this.#handle, session, context, trustDomain);
  }

  /** Opens an mTLS HTTP/2 connection whose peer must have one of `identities`. */
  connectSession(
    connect: EngineConnect,
    context: TunnelHandle,
    identities: readonly string[],
    handler: SessionHandler,
  ): number {
    const id = this.#nextId();
    if (this.#closed) return id;
    this.#sessions.set(id, handler);
    this.#native.tunnelSessionConnect(this.#handle, id, connect, context, identities);
    return id;
  }

  /** Like {@link connectSession}, inside a CONNECT stream of another session. */
  nestSession(
    carrier: number,
    fields: string,
    context: TunnelHandle,
    identities: readonly string[],
    handler: SessionHandler,
  ): number {
    const id = this.#nextId();
    if (this.#closed) return id;
    this.#sessions.set(id, handler);
    this.#native.tunnelSessionNest(this.#handle, id, carrier, fields, context, identities);
    return id;
  }

  /** Sends GOAWAY; the session ends with its last stream. */
  drainSession(session: number): void {
    if (!this.#closed) this.#native.tunnelSessionDrain(this.#handle, session);
  }

  abortSession(session: number): void {
    if (!this.#closed) this.#native.tunnelSessionAbort(this.#handle, session);
  }

  /** Requests the byte counts of all or only young open flows, which come to {@link FlowHandler.bytes}. */
  reportBytes(which: 'all' | 'young'): void {
    if (!this.#closed) this.#native.tunnelReportBytes(this.#handle, which === 'all');
  }

  /** Ends the thread and cuts all remaining connections. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.tunnelStop(this.#handle);
    const lost: FlowEnd = { reason: flowEndReason.aborted, code: 0, bytesUp: 0, bytesDown: 0 };
    const flows = [...this.#flows.values()];
    const held = [...this.#held.values()];
    this.#flows.clear();
    this.#sessions.clear();
    this.#listeners.clear();
    for (const flow of flows) this.#guard(() => flow.closed(lost));
    for (const flow of held) this.#guard(() => flow.released?.());
  }

  /** Returns the next id; odd ids belong to the native side. */
  #nextId(): number {
    this.#lastId += 2;
    return this.#lastId;
  }

  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#onError(error);
    }
  }

  #dispatch(
    numbers: Float64Array,
    count: number,
    texts: readonly string[],
    extras: readonly NativeTunnelExtra[],
  ): void {
    const reader = this.#reader;
    reader.load({ numbers, count, texts, extras });
    this.#plans.delivering(() => {
      while (!this.#closed && reader.next()) {
        try {
          this.#deliver(reader);
        } catch (error) {
          this.#onError(error);
        }
      }
    });
  }

  #deliver(event: EventReader): void {
    const { id } = event;
    switch (event.type) {
      case eventType.accepted:
        this.#listeners.get(event.value(0))?.accepted(readAccepted(event));
        return;
      case eventType.served:
        this.#plans.served(event.value(0), {
          flow: id,
          clientPort: event.value(1),
          milliseconds: event.value(2),
        });
        return;
      case eventType.passed:
        this.#plans.passed(event.value(0), {
          clientPort: event.value(1),
          milliseconds: event.value(2),
          bytesUp: event.value(3),
          bytesDown: event.value(4),
        });
        return;
      case eventType.acceptFailed:
        this.#listeners.get(id)?.failed(event.value(0));
        return;
      case eventType.listenerClosed:
        this.#listeners.delete(id);
        return;
      case eventType.request:
        this.#sessions.get(event.value(0))?.request?.(readRequest(event));
        return;
      case eventType.flowClosed: {
        const handler = this.#flows.get(id);
        if (event.value(0) === flowEndReason.retry) {
          handler?.retry?.();
          return;
        }
        this.#flows.delete(id);
        if (handler === undefined) this.#rememberEnd(id, readFlowEnd(event));
        else handler.closed(readFlowEnd(event));
        return;
      }
      case eventType.flowHeld: {
        const handler = this.#flows.get(id);
        if (handler === undefined) return;
        this.#held.set(id, handler);
        handler.held?.();
        return;
      }
      case eventType.flowReleased: {
        const handler = this.#held.get(id);
        this.#held.delete(id);
        handler?.released?.();
        return;
      }
      case eventType.flowOpened:
        this.#flows.get(id)?.opened?.(event.text(0));
        return;
      case eventType.sourceNotKept:
        this.#flows.get(id)?.sourceNotKept?.();
        return;
      case eventType.bytes:
        this.#deliverBytes(event.extra(0));
        return;
      case eventType.sessionReady:
        this.#sessions.get(id)?.ready(readSessionReady(event));
        return;
      case eventType.sessionLimit:
        this.#sessions.get(id)?.limit?.(event.value(0));
        return;
      case eventType.sessionDraining:
        this.#sessions.get(id)?.draining?.();
        return;
      case eventType.sessionWaits:
        this.#sessions.get(id)?.waits?.();
        return;
      case eventType.sessionClosed: {
        const handler = this.#sessions.get(id);
        this.#sessions.delete(id);
        handler?.closed(readSessionEnd(event));
        return;
      }
    }
  }

  #rememberEnd(id: number, end: FlowEnd): void {
    this.#endedEarly.set(id, end);
    if (this.#endedEarly.size <= MAXIMUM_ENDED_EARLY) return;
    const [oldest] = this.#endedEarly.keys();
    if (oldest !== undefined) this.#endedEarly.delete(oldest);
  }

  #deliverBytes(series: NativeTunnelExtra | undefined): void {
    if (!(series instanceof Float64Array)) return;
    for (let at = 0; at + 2 < series.length; at += 3) {
      const [id, up, down] = [series[at] ?? 0, series[at + 1] ?? 0, series[at + 2] ?? 0];
      this.#flows.get(id)?.bytes?.(up, down);
    }
  }
}
