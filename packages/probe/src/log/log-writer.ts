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

/** Lines that follow others so soon are collected: each write wakes the writer thread. */
const COLLECT_MILLISECONDS = 2;

/** Lines that wait to be given to the writer thread. */
interface Batch {
  text: string;
  lines: number;
}

/**
 * The log's writer. A line goes to the writer thread with the turn of the event loop that writes it, those that follow soon in
 * batches; when the thread's queue is full they wait here, producers get backpressure, and only beyond {@link overflowLines} are
 * lines dropped and counted.
 */
function createLogWriter(thread: BackgroundWriter, dropped: BigInt64Array): LogWriter {
  let batches: Batch[] = [];
  let last: Batch | undefined;
  let pending = 0;
  let scheduled = false;
  let sentAt = 0;
  let waiting: (() => void)[] = [];

  function send(): void {
    scheduled = false;
    sentAt = performance.now();
    let sent = 0;
    for (const { text, lines } of batches) {
      if (thread.queued >= queueLines) break;
      thread.write(text, lines);
      pending -= lines;
      sent++;
    }
    batches = sent === batches.length ? [] : batches.slice(sent);
    last = batches.at(-1);
    if (pending > 0) {
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
      if (pending >= overflowLines) {
        Atomics.add(dropped, 0, 1n);
        return;
      }
      if (last === undefined || last.lines === linesPerWrite) {
        last = { text: line, lines: 1 };
        batches.push(last);
      } else {
        last.text += line;
        last.lines++;
      }
      pending++;
      if (scheduled) return;
      scheduled = true;
      if (performance.now() - sentAt < COLLECT_MILLISECONDS) setTimeout(send, COLLECT_MILLISECONDS);
      else setImmediate(send);
    },
    room() {
      const full = pending >= queueLines || (pending > 0 && thread.queued >= queueLines);
      return full ? new Promise((resume) => waiting.push(resume)) : undefined;
    },
    flushSync(milliseconds = 1000) {
      const deadline = Date.now() + milliseconds;
      do {
        send();
        if (thread.waitSync(10) && pending === 0) return;
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
