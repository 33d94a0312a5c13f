/** Messages of a suite's process to the runner, and interruption. */
import type { Report } from './report.ts';

/** Message of a suite's process. */
export type ChildMessage =
  | { readonly kind: 'progress'; readonly part: number; readonly what: string }
  | { readonly kind: 'report'; readonly report: Report };

let isInterrupted = false;
let interruptible = 0;

/** Returns whether this run was interrupted; complete rounds then become the report. */
export function interrupted(): boolean {
  return isInterrupted;
}

/** Until disposed of, an interrupted run ends with a report; otherwise it ends immediately, without one. */
export function sayInterruptible(): Disposable {
  interruptible += 1;
  return {
    [Symbol.dispose]: () => {
      interruptible -= 1;
    },
  };
}

/** Reports the completed part of the suite, 0 to 1. */
export function reportProgress(part: number, what: string): void {
  send({ kind: 'progress', part, what });
}

/** Sends the report at the end of the suite. */
export function sendReport(report: Report): void {
  send({ kind: 'report', report });
}

/** Asks the suite to end with its complete rounds, or ends the process if it cannot report. */
export function interrupt(): void {
  isInterrupted = true;
  // Exit handlers clean up open resources.
  if (interruptible === 0) process.exit(130);
}

function send(message: ChildMessage): void {
  process.send?.(message);
}
