/**
 * A reporter of Node's test runner: prints the slowest test files of the run and keeps the seconds of every file in
 * `build/test-durations.json`, where files that this run left out keep their last figure.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';

const kept = 'build/test-durations.json';
const shown = 15;

export default async function* reportDurations(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const seconds = new Map<string, number>();
  for await (const event of events) {
    if (event.type !== 'test:summary' || event.data.file === undefined) continue;
    seconds.set(relative('.', event.data.file), Math.round(event.data.duration_ms / 100) / 10);
  }
  const slowest = [...seconds].sort(([, a], [, b]) => b - a).slice(0, shown);
  if (slowest.length > 1) yield `slowest files (all in ${kept}):\n`;
  if (slowest.length > 1)
    for (const [file, time] of slowest) yield `${time.toFixed(1).padStart(7)} s  ${file}\n`;
  const known = before();
  for (const [file, time] of seconds) known[file] = time;
  mkdirSync('build', { recursive: true });
  const sorted = Object.fromEntries(Object.entries(known).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(kept, `${JSON.stringify(sorted, null, 2)}\n`);
}

function before(): Record<string, number> {
  try {
    return JSON.parse(readFileSync(kept, 'utf8')) as Record<string, number>;
  } catch {
    return {};
  }
}
