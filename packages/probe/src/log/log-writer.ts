import { writeSync } from 'node:fs';
import { LineWriter } from '@kmesh/linux';

/** Queued lines at which producers get backpressure (ambient contract 2.8). */
export const queueLines = 10_000;

/** Lines that a thread keeps beyond a full queue before it drops lines; reached only if the log is not read at all. */
export const overflowLines = 20_000;

/** Lines per write. */
const linesPerWrite = 64;

/** A sink for complete lines (with their line feed). Never blocks and never throws. */
export interface LogWriter {
  write(line: string): void;
  /**
   * Backpressure on producers: `undefined` when there is room, else a promise that resolves when there is again. A
   * producer that can wait (a listener before accepting) awaits it; proxied bytes never do.
   */
  room(): Promise<void> | undefined;
  /** Flushes everything written so far. Waits at most `milliseconds`. */
  flushSync(milliseconds?: number): void;
}

/** A writer in the background, satisfied by `LineWriter`. */
interface BackgroundWriter {
  /** Number of lines that are not written yet. */
  readonly queued: number;
  write(text: string, lines: number): void;
  waitSync(milliseconds: number): boolean;
}

/** Lines that follow a line within this time are batched, since each write wakes the writer thread. */
const COLLECT_MILLISECONDS = 2;

/** Lines to be passed to the writer thread. */
interface Batch {
  text: string;
  lines: number;
}

/**
 * Creates the log's writer. A first line is passed to the writer thread in the same turn of the event loop, closely
 * following lines in batches. When the thread's queue is full lines wait here and producers get backpressure; only
 * beyond {@link overflowLines} are lines dropped and counted.
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

/** Returns a writer without a thread, for short-lived commands and for lines logged before the writer thread runs. */
export function directLogWriter(descriptor = 1): LogWriter {
  return {
    write: (line) => writeFully(descriptor, line),
    room: () => undefined,
    flushSync: () => undefined,
  };
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Writes all of `text`, waiting for a slow consumer; a closed consumer is ignored. */
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
  /** [total dropped lines], changed with Atomics. */
  readonly dropped: BigInt64Array;
}

/**
 * Starts the only thread that writes the log, so that a slow consumer blocks no other thread (ambient contract 2.8).
 * It is native, because a JavaScript thread would cost 6 MB.
 *
 * @param descriptor the output; default: standard output
 */
export function startLogThread(descriptor = 1): LogThread {
  const dropped = new BigInt64Array(new SharedArrayBuffer(8));
  return { writer: createLogWriter(new LineWriter(descriptor, 'kmesh-log'), dropped), dropped };
}
