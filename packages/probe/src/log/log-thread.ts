import { LineWriter } from '@kmesh/linux';
import { createLogWriter, type LogWriter } from './log-writer.ts';

export interface LogThread {
  readonly writer: LogWriter;
  /** [lines dropped in total], changed with Atomics. */
  readonly dropped: BigInt64Array;
}

/**
 * Starts the thread that alone writes the log, so that a slow consumer holds up that thread and no other (ambient contract 2.8).
 * It is native: a thread of JavaScript would cost 6 MB.
 *
 * @param descriptor what lines are written to; default: standard output
 */
export function startLogThread(descriptor = 1): LogThread {
  const dropped = new BigInt64Array(new SharedArrayBuffer(8));
  return { writer: createLogWriter(new LineWriter(descriptor, 'kmesh-log'), dropped), dropped };
}
