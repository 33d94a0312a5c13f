import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

const kept = 'build/test-durations.json';
const shown = 15;

/** The slowest test files of a run, for people; `seconds` by file. */
export function slowest(seconds: ReadonlyMap<string, number>): string {
  if (seconds.size < 2) return '';
  const most = [...seconds].sort(([, a], [, b]) => b - a).slice(0, shown);
  const lines = most.map(([file, time]) => `${time.toFixed(1).padStart(7)} s  ${file}\n`);
  return `slowest files (all in ${kept}):\n${lines.join('')}`;
}

/** Stores the durations of these files; files that the run did not include keep their last value. */
export function keep(seconds: ReadonlyMap<string, number>): void {
  const known = before();
  for (const [file, time] of seconds) known[file] = Math.round(time * 10) / 10;
  mkdirSync('build', { recursive: true });
  const sorted = Object.fromEntries(Object.entries(known).sort(([a], [b]) => (a < b ? -1 : 1)));
  // Another run may be reading it.
  writeFileSync(`${kept}.${process.pid}`, `${JSON.stringify(sorted, null, 2)}\n`);
  renameSync(`${kept}.${process.pid}`, kept);
}

function before(): Record<string, number> {
  try {
    return JSON.parse(readFileSync(kept, 'utf8')) as Record<string, number>;
  } catch {
    return {};
  }
}
