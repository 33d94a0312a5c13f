import { MessageChannel } from 'node:worker_threads';
import { KmeshError } from '@kmesh/api';
import { startThread } from '@kmesh/linux';
import {
  createSeriesBudget,
  type ScrapeWorkerData,
  type ToMain,
  type ToWorker,
} from '../metrics/messages.ts';
import type { RecorderChannel } from '../metrics/recorder.ts';

/** Maximum lines of connection metrics in a process; further ones are counted as dropped. */
const defaultMaximumSeries = 400_000;

export interface ScrapeServerOptions {
  /** Default `::`. */
  readonly host?: string;
  /** Default 15020; 0 takes a free port. */
  readonly port?: number;
  /** Whether a second instance may listen on the port while this one still serves. */
  readonly reusePort?: boolean;
  readonly maximumSeries?: number;
  /** Returns the exposition of the control thread's registry, without an end marker; called at each scrape. */
  readonly collect?: () => Promise<string>;
  /** Counter of dropped log lines, see `LogThread.dropped`. */
  readonly droppedLines?: BigInt64Array;
  /** The worker's program; default: the file beside this one. */
  readonly worker?: URL;
}

export interface ScrapeServer {
  readonly port: number;
  readonly address: string;
  /** Creates a new recorder's channel; transfer its `port` to the recording thread. */
  recorderChannel(): RecorderChannel;
  /** Waits for scrapes in progress, up to the deadline (default 1 s), and stops the thread. */
  close(deadlineMilliseconds?: number): Promise<void>;
}

/**
 * Starts the thread that serves `/metrics` and `/stats/prometheus` (ambient contract 2.9, 15.1).
 *
 * @throws KmeshError `KMESH_SCRAPE_LISTEN` when the port cannot be bound
 */
export async function startScrapeServer(options: ScrapeServerOptions = {}): Promise<ScrapeServer> {
  const budget = createSeriesBudget(options.maximumSeries ?? defaultMaximumSeries);
  const data: ScrapeWorkerData = {
    host: options.host ?? '::',
    port: options.port ?? 15020,
    reusePort: options.reusePort ?? false,
    budget,
    droppedLines: options.droppedLines ?? new BigInt64Array(new SharedArrayBuffer(8)),
  };
  const worker = startThread(options.worker ?? new URL('./scrape-worker.ts', import.meta.url), {
    name: 'kmesh-scrape',
    workerData: data,
  });
  const tell = (message: ToWorker, ...ports: readonly import('node:worker_threads').MessagePort[]) =>
    worker.postMessage(message, ports);
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));

  const listening = await new Promise<{ port: number; address: string }>((resolve, reject) => {
    worker.once('error', reject);
    worker.on('message', (message: ToMain) => {
      if (message.kind === 'listening') resolve(message);
      else if (message.kind === 'failed') reject(cannotListen(data, message.reason));
      else void answer(message.question);
    });
  }).catch(async (error) => {
    await worker.terminate();
    throw error;
  });

  async function answer(question: number): Promise<void> {
    const text = await (options.collect?.() ?? Promise.resolve('')).catch(() => '');
    tell({ kind: 'collected', question, text });
  }

  return {
    port: listening.port,
    address: listening.address,
    recorderChannel() {
      const { port1, port2 } = new MessageChannel();
      tell({ kind: 'recorder', port: port2 }, port2);
      port1.unref();
      return { port: port1, budget };
    },
    async close(deadlineMilliseconds = 1000) {
      tell({ kind: 'close', deadlineMilliseconds });
      await exited;
    },
  };
}

function cannotListen(data: ScrapeWorkerData, reason: string): KmeshError {
  return new KmeshError(
    'KMESH_SCRAPE_LISTEN',
    `Cannot serve metrics on ${data.host} port ${data.port}: ${reason}. ` +
      'Free the port or configure another one.',
  );
}
