import type { BpfObject } from '@kmesh/linux';
import { LiveFlowTable } from '../tables/flows-object.ts';
import type { KernelConnections } from './kernel-connections.ts';

interface LiveFlowReportsOptions {
  /** The loaded kernel programs; `liveFlowsObstacles` must be empty. */
  readonly object: Pick<BpfObject, 'map' | 'program'>;
  readonly connections: Pick<KernelConnections, 'beginLiveReport' | 'liveFlows' | 'endLiveReport' | 'close'>;
  /** A report failed; the next one is tried all the same. */
  readonly onError: (error: unknown) => void;
  readonly intervalMilliseconds?: number;
  /** As for `KernelConnections`. Default: there is only one daemon. */
  readonly generation?: number;
  /**
   * Whether this daemon's programs are at the hooks. Before they are, and once another daemon's have taken their place, what
   * is open is that one's to count. Default: they always are.
   */
  readonly isObserving?: () => boolean;
}

/** Bytes of a long connection show within 5 s; a report of many takes part of that. */
const mostIntervalMilliseconds = 3000;
/** What has opened shows within a second where a report is cheap: so many times what it took passes before the next one. */
const leastIntervalMilliseconds = 1000;
const restPerWork = 30;
const mostShares = 1024;

/**
 * Tells `KernelConnections` at least every 5 s of the connections that are open in the kernel. Many flows are read in
 * shares, so that no share holds the event loop for long. Does not keep the process alive.
 *
 * @throws SystemCallError `KMESH_BPF_ATTACH_FAILED`
 */
export class LiveFlowReports implements Disposable {
  readonly #options: LiveFlowReportsOptions;
  readonly #table: LiveFlowTable;
  #shares = 1;
  #observed = false;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(options: LiveFlowReportsOptions) {
    this.#options = options;
    this.#table = new LiveFlowTable(options.object, options.generation ?? 1);
    this.#schedule(options.intervalMilliseconds ?? leastIntervalMilliseconds);
  }

  /** Takes a report now, or joins the one that is under way. */
  take(): Promise<void> {
    this.#running ??= this.#take().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** The last report, once the one under way is done: what is counted by it, another daemon goes on from. */
  async takeLast(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#running?.catch(() => undefined);
    await this.take();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#table.close();
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

  async #take(): Promise<void> {
    const { connections, isObserving } = this.#options;
    if (isObserving?.() === false) {
      if (this.#observed) connections.close(true);
      return;
    }
    this.#observed = true;
    connections.beginLiveReport(Number(process.hrtime.bigint()));
    for (let share = 0; share < this.#shares; share++) {
      const { bytes, count, overflow } = await this.#table.read(share, this.#shares);
      if (this.#closed) return;
      connections.liveFlows(bytes, count);
      if (overflow === 0) continue;
      if (this.#shares === mostShares) throw new RangeError('more flows are open than can be reported');
      // The same flow may be told again, so the report goes on where it is in smaller shares.
      this.#shares *= 2;
      share = -1;
    }
    connections.endLiveReport();
  }
}
