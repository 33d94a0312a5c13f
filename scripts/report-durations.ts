/** A reporter of Node's test runner: prints the slowest test files of the run and keeps the seconds of every file. */
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { keep, slowest } from './durations.ts';

export default async function* reportDurations(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const seconds = new Map<string, number>();
  for await (const event of events) {
    if (event.type !== 'test:summary' || event.data.file === undefined) continue;
    seconds.set(relative('.', event.data.file), event.data.duration_ms / 1000);
  }
  yield slowest(seconds);
  keep(seconds);
}
