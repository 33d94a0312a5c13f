import { MessageChannel } from 'node:worker_threads';
import { startThread } from '@kmesh/linux';
import type { LogChannel } from './log-writer.ts';

export interface LogThread {
  /** A new channel; transfer its `port` to the thread that will write. */
  channel(): LogChannel;
  /** Lines dropped so far, over all threads. */
  dropped(): number;
  /** Writes what is queued and ends the thread. */
  close(): Promise<void>;
}

interface LogThreadOptions {
  /** File descriptor that lines are written to; default: standard output. */
  readonly descriptor?: number;
  /** The worker's program; default: the file beside this one. */
  readonly worker?: URL;
}

/**
 * Starts the thread that alone writes the log, so that a slow consumer holds up that thread and no other
 * (ambient contract 2.8).
 */
export function startLogThread(options: LogThreadOptions = {}): LogThread {
  const queued = new Int32Array(new SharedArrayBuffer(4));
  const dropped = new BigInt64Array(new SharedArrayBuffer(8));
  const worker = startThread(options.worker ?? new URL('./log-worker.ts', import.meta.url), {
    name: 'kmesh-log',
    workerData: { descriptor: options.descriptor ?? 1, queued },
  });
  worker.unref();
  return {
    channel() {
      const { port1, port2 } = new MessageChannel();
      worker.postMessage(port2, [port2]);
      return { port: port1, queued, dropped };
    },
    dropped: () => Number(Atomics.load(dropped, 0)),
    async close() {
      const ended = new Promise((resolve) => worker.once('exit', resolve));
      worker.ref();
      worker.postMessage('close');
      await ended;
    },
  };
}
