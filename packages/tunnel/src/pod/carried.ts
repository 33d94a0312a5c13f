import type { ConnectionStart, ObservedConnection, Reporter, RoutedConnection } from '@kmesh/probe';
import type { FlowEnd } from '../engine/events.ts';
import type { FlowHandler } from '../engine/handlers.ts';
import type { Passed } from '../engine/plans.ts';
import { type Failure, type FailurePlace, flowFailure } from '../failure.ts';
import type { PooledSession } from '../outbound/pool.ts';
import type { PodContext } from './pod-context.ts';

/** A connection of the pod in the config dump. */
export interface CarriedDump {
  readonly direction: 'inbound' | 'outbound';
  readonly source: string;
  readonly destination: string;
  readonly protocol: 'TCP' | 'HBONE' | 'DOUBLEHBONE';
}

/** One proxied connection with its record, from its count to the end of its flow. */
export class Carried implements FlowHandler {
  readonly flow: number;
  readonly start: ConnectionStart;
  readonly dump: CarriedDump;
  readonly record: ObservedConnection;
  readonly #pod: PodContext;
  readonly #tunnelled: boolean;
  #cause: Failure | undefined;
  #ended = false;
  #held = false;

  constructor(pod: PodContext, flow: number, start: ConnectionStart, dump: CarriedDump, tunnelled: boolean) {
    this.#pod = pod;
    this.flow = flow;
    this.start = start;
    this.dump = dump;
    this.#tunnelled = tunnelled;
    this.record = pod.observer.opened(start);
    pod.share.change(this.#descriptors);
    pod.carried.add(this);
    pod.engine.handleFlow(flow, this);
  }

  /** The pooled connection that carries it, outbound. */
  session: PooledSession | undefined;
  /** Address of the application's socket, inbound. */
  application: string | undefined;
  /** Set when the flow is routed. */
  onClosed: ((end: FlowEnd) => void) | undefined;
  onRetry: (() => void) | undefined;
  onOpened: ((baggage: string) => void) | undefined;

  /** Number of sockets besides the accepted one: a connection through a pooled session has none. */
  get #descriptors(): number {
    return this.#tunnelled && this.start.reporter === 'source' ? 0 : 1;
  }

  get ended(): boolean {
    return this.#ended;
  }

  closed(end: FlowEnd): void {
    this.#ended = true;
    this.#pod.carried.delete(this);
    const failure = this.#cause ?? flowFailure(end, this.#place(), this.#tunnelled);
    this.record.close({
      flag: failure?.flag ?? '-',
      error: failure?.error,
      bytesFromClient: end.bytesUp,
      bytesFromServer: end.bytesDown,
      durationMilliseconds: end.milliseconds,
    });
    if (!this.#held) this.released();
    this.onClosed?.(end);
  }

  held(): void {
    this.#held = true;
  }

  released(): void {
    this.#pod.share.change(-this.#descriptors);
    socketClosed(this.#pod, this.start.reporter, this.#tunnelled && this.start.reporter === 'destination');
  }

  /** Inbound, the proxy connects to the application, not to the address of the HBONE connection. */
  #place(): FailurePlace {
    const { reporter, destinationAddress, hboneAddress } = this.start;
    if (reporter === 'destination') return { peer: this.application ?? destinationAddress };
    return { peer: destinationAddress, behind: hboneAddress };
  }

  retry(): void {
    this.onRetry?.();
  }

  opened(baggage: string): void {
    this.onOpened?.(baggage);
  }

  bytes(up: number, down: number): void {
    this.record.progress(up, down);
  }

  sourceNotKept(): void {
    this.#pod.logger.warn(
      'the client address cannot be preserved towards the application; a local address is used',
      {
        'src.addr': this.start.sourceAddress,
        'dst.addr': this.start.destinationAddress,
        pod: `${this.#pod.info.namespace}/${this.#pod.info.name}`,
      },
    );
  }

  /** Ends an undecided flow for a local reason; `status` answers a request. */
  refuse(cause: Failure, status: number): void {
    this.#cause = cause;
    this.#pod.engine.rejectFlow(this.flow, status);
  }

  /** Cuts a live flow for a local reason. */
  cut(cause: Failure): void {
    this.#cause ??= cause;
    this.#pod.engine.abortFlow(this.flow);
  }

  /** Ends a live flow by FIN if possible, for a local reason. Otherwise use {@link cut}. */
  leave(cause: Failure): void {
    this.#cause ??= cause;
    this.#pod.engine.leaveFlow(this.flow);
  }

  /** Sets the reason to report if the flow ends now. */
  set cause(cause: Failure) {
    this.#cause ??= cause;
  }
}

/** Cached, because reading it costs more than reading the clock. */
const { timeOrigin } = performance;

/** Returns the start of a connection that is reported late, in milliseconds since the epoch. */
export function startOf(milliseconds: number): number {
  return timeOrigin + performance.now() - milliseconds;
}

/**
 * Records a connection that ended in order before it was reported: there is nothing to hold, cut or judge again.
 */
export function recordPassed({ observer }: PodContext, start: ConnectionStart, passed: Passed): void {
  const end = {
    flag: '-',
    bytesFromClient: passed.bytesUp,
    bytesFromServer: passed.bytesDown,
    durationMilliseconds: passed.milliseconds,
  } as const;
  if (observer.passed === undefined) observer.opened(start).close(end);
  else observer.passed(start, end);
}

/** Counts an accepted socket (contract 15.3); streams of an HBONE connection are not sockets. */
export function socketOpened(pod: PodContext, reporter: Reporter): void {
  pod.share.change(1);
  pod.observer.socketsOpen(reporter, 1);
}

export function socketClosed(pod: PodContext, reporter: Reporter, isStream = false): void {
  if (isStream) return;
  pod.share.change(-1);
  pod.observer.socketsOpen(reporter, -1);
}

/** Refuses an accepted connection before it has a record: one log line, no metric. */
export function denyEarly(
  pod: PodContext,
  flow: number,
  where: {
    source: string;
    destination: string;
    reporter: Reporter;
    isStream?: boolean;
    routed?: RoutedConnection | undefined;
  },
  error: string,
  status = 0,
): void {
  pod.observer.earlyDeny({
    sourceAddress: where.source,
    destinationAddress: where.destination,
    reporter: where.reporter,
    error,
    routed: where.routed,
    pod: pod.info,
  });
  pod.engine.handleFlow(flow, {
    closed: () => socketClosed(pod, where.reporter, where.isStream ?? false),
  });
  pod.engine.rejectFlow(flow, status);
}
