import { writeSync } from 'node:fs';
import { LineWriter } from '@kmesh/linux';

/** Lines that wait for the writer thread before producers are slowed (ambient contract 2.8). */
export const queueLines = 10_000;

/** Lines that a thread keeps beyond a full queue before it drops: reached only when the log is not read at all. */
export const overflowLines = 20_000;

/** Lines in one write. */
const linesPerWrite = 64;

/** Where complete lines (with their line feed) go. Never blocks and never throws. */
export interface LogWriter {
  write(line: string): void;
  /**
   * Backpressure on producers: `undefined` when there is room, else a promise that resolves when there is again. A
   * producer that can be held back (a listener about to accept) waits for it; proxied bytes never do.
   */
  room(): Promise<void> | undefined;
  /** Flushes everything written so far. Waits at most `milliseconds`. */
  flushSync(milliseconds?: number): void;
}

/** Writes in the background; `LineWriter` does. */
interface BackgroundWriter {
  /** Lines that are not written yet. */
  readonly queued: number;
  write(text: string, lines: number): void;
  waitSync(milliseconds: number): boolean;
}

/**
 * The log's writer. Lines go to the writer thread in batches, once per turn of the event loop; when its queue is full they wait
 * here, producers get backpressure, and only beyond {@link overflowLines} are lines dropped and counted.
 */
function createLogWriter(thread: BackgroundWriter, dropped: BigInt64Array): LogWriter {
  let pending: string[] = [];
  let scheduled = false;
  let waiting: (() => void)[] = [];

  function send(): void {
    scheduled = false;
    let sent = 0;
    while (sent < pending.length && thread.queued < queueLines) {
      const batch = pending.slice(sent, sent + linesPerWrite);
      sent += batch.length;
      thread.write(batch.join(''), batch.length);
    }
    pending = sent === pending.length ? [] : pending.slice(sent);
    if (pending.length > 0) {
      scheduled = true;
      setTimeout(send, 5);
    } else if (waiting.length > 0) {
      const resumed = waiting;
      waiting = [];
      for (const resume of resumed) resume();
    }
  }

  return {
    write(line) {
      if (pending.length >= overflowLines) {
        Atomics.add(dropped, 0, 1n);
        return;
      }
      pending.push(line);
      if (scheduled) return;
      scheduled = true;
      setImmediate(send);
    },
    room() {
      const full = pending.length >= queueLines || (pending.length > 0 && thread.queued >= queueLines);
      return full ? new Promise((resume) => waiting.push(resume)) : undefined;
    },
    flushSync(milliseconds = 1000) {
      const deadline = Date.now() + milliseconds;
      do {
        send();
        if (thread.waitSync(10) && pending.length === 0) return;
      } while (Date.now() < deadline);
    },
  };
}

/** A writer without a thread, for short-lived commands and for lines logged before the writer thread runs. */
export function directLogWriter(descriptor = 1): LogWriter {
  return {
    write: (line) => writeFully(descriptor, line),
    room: () => undefined,
    flushSync: () => undefined,
  };
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Writes all of `text`, waiting where the consumer is slow; a consumer that has closed is ignored. */
function writeFully(descriptor: number, text: string): void {
  let bytes = Buffer.from(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(descriptor, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

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
