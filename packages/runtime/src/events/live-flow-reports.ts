import type { BpfObject, NetworkNamespace } from '@kmesh/linux';
import { CountedFlows } from './counted-flows.ts';
import type { KernelConnections } from './kernel-connections.ts';
import { liveFlowsOf } from './live-flows.ts';

interface LiveFlowReportsOptions {
  /** The loaded kernel programs; `liveFlowsObstacles` must be empty. */
  readonly object: Pick<BpfObject, 'map'>;
  readonly connections: Pick<
    KernelConnections,
    'beginLiveReport' | 'liveFlows' | 'endLiveReport' | 'continueFrom' | 'close'
  >;
  /** Returns the namespaces of the enrolled pods. */
  readonly namespaces: () => readonly NetworkNamespace[];
  /** Called when a report fails; the next one is tried all the same. */
  readonly onError: (error: unknown) => void;
  readonly intervalMilliseconds?: number;
  /** Identifies this daemon among those that count on this node, 1 to 65,535. Default: there is only one. */
  readonly generation?: number;
  /**
   * Returns whether this daemon's programs are at the hooks. Before they are, and once another daemon's have taken their
   * place, that one counts what is open. Default: they always are.
   */
  readonly isObserving?: () => boolean;
}

/** Bytes of a long connection show within 5 s; a report of many takes part of that. */
const mostIntervalMilliseconds = 3000;
/** The delay is `restPerWork` × the duration of the last report, clamped to these two. */
const leastIntervalMilliseconds = 1000;
const restPerWork = 30;

/**
 * Reports the connections that are open in the kernel to `KernelConnections` at least every 5 s. The sockets of each pod are
 * listed on a thread of libuv's pool and taken in slices. Does not keep the process alive.
 */
export class LiveFlowReports implements Disposable {
  readonly #options: LiveFlowReportsOptions;
  readonly #counted: CountedFlows;
  #observed = false;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: LiveFlowReportsOptions) {
    this.#options = options;
    const counted = new CountedFlows(options.object.map('counted'), options.generation ?? 1);
    this.#counted = counted;
    options.connections.continueFrom((cookie) => counted.earlier(cookie));
    this.#schedule(options.intervalMilliseconds ?? leastIntervalMilliseconds);
  }

  /** Takes a report now, or joins the one that is under way. */
  take(): Promise<void> {
    this.#running ??= this.#take().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Takes the last report, once the one under way is done: the next daemon continues from what it counts. */
  async takeLast(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#running?.catch(() => undefined);
    await this.take();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #schedule(milliseconds: number): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      const began = performance.now();
      this.take()
        .catch(this.#options.onError)
        .finally(() => {
          const rest = Math.max(leastIntervalMilliseconds, restPerWork * (performance.now() - began));
          this.#schedule(this.#options.intervalMilliseconds ?? Math.min(rest, mostIntervalMilliseconds));
        });
    }, milliseconds);
    this.#timer.unref();
  }

  /** Whether this daemon counts what is open; leaves it to the next one when it did so before. */
  #mayCount(): boolean {
    if (this.#closed) return false;
    const { connections, isObserving } = this.#options;
    if (isObserving?.() !== false) {
      this.#observed = true;
      return true;
    }
    if (this.#observed) connections.close(true);
    return false;
  }

  async #take(): Promise<void> {
    const { connections, object, namespaces } = this.#options;
    if (!this.#mayCount()) return;
    connections.beginLiveReport(Number(process.hrtime.bigint()));
    for (const namespace of namespaces()) {
      // A pod that leaves during the report has no connections any more.
      if (namespace.closed) continue;
      for await (const { bytes, count } of liveFlowsOf(namespace, object.map('flows'))) {
        if (!this.#mayCount()) return;
        connections.liveFlows(bytes, count);
        this.#counted.note(bytes, count);
      }
    }
    this.#counted.keep(connections.endLiveReport());
  }
}
