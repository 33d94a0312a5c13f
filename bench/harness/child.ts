/** What a suite's own process says to the one that runs them all, and whether it was asked to end. */
import type { Report } from './report.ts';

/** What a suite's process sends. */
export type ChildMessage =
  | { readonly kind: 'progress'; readonly part: number; readonly what: string }
  | { readonly kind: 'report'; readonly report: Report };

let isInterrupted = false;
let interruptible = 0;

/** Whether this run was asked to end: what is complete then becomes the report. */
export function interrupted(): boolean {
  return isInterrupted;
}

/** Until it is disposed of, an interrupted run goes on to a report; otherwise it ends at once, without one. */
export function sayInterruptible(): Disposable {
  interruptible += 1;
  return {
    [Symbol.dispose]: () => {
      interruptible -= 1;
    },
  };
}

/** How much of the suite is done, 0 to 1. */
export function reportProgress(part: number, what: string): void {
  send({ kind: 'progress', part, what });
}

/** The end of the suite. */
export function sendReport(report: Report): void {
  send({ kind: 'report', report });
}

/** Asks the suite to end with what is complete, or ends the process where nothing can be. */
export function interrupt(): void {
  isInterrupted = true;
  // Whatever is open is cleaned up on exit.
  if (interruptible === 0) process.exit(130);
}

function send(message: ChildMessage): void {
  process.send?.(message);
}
