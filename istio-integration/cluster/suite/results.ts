/** One of Istio's tests, with everything below it. */
export interface SuiteTest {
  readonly name: string;
  readonly result: 'passed' | 'failed' | 'not runnable';
  readonly seconds: number;
  /** Of the tests below it that have none below them. */
  readonly parts: { readonly passed: number; readonly failed: number; readonly skipped: number };
  /** Why it is not runnable, or the first words of what failed. */
  readonly reason: string;
  /** Of the parts that have none below them, those that failed or did not end. */
  readonly failures: readonly FailedPart[];
}

/** A part of a test that failed. */
export interface FailedPart {
  /** Below the test's own name. */
  readonly name: string;
  readonly seconds: number;
  /** The first words of it. */
  readonly reason: string;
}

/** A line of what `go tool test2json` makes of a test's output. */
interface TestEvent {
  readonly Action: string;
  readonly Test?: string;
  readonly Output?: string;
  readonly Elapsed?: number;
}

/** What was seen of a test or a part of one. */
interface Seen {
  readonly notes: string[];
  end: 'pass' | 'fail' | 'skip' | undefined;
  seconds: number;
  leaf: boolean;
}

/** Takes what a run of Istio's tests says, line by line, as `go tool test2json` writes it. */
export interface SuiteReader {
  /** Returns the test that ended with this line, where one did that is not below another. */
  read(line: string): string | undefined;
  /** All tests that began, in the order of their beginning. */
  tests(): SuiteTest[];
  /** What was said outside of tests, the last lines of it. */
  said(): string;
}

const KEPT_NOTES = 40;
const KEPT_LINES = 60;
/** What a test says: the file and line of the test's source, and a text. */
const note = /^\s*(\w+_?\w*\.go:\d+): (.*\S)/;

export function readSuite(): SuiteReader {
  const all = new Map<string, Seen>();
  const outside: string[] = [];
  const seen = (name: string): Seen => {
    let one = all.get(name);
    if (one === undefined) {
      one = { notes: [], end: undefined, seconds: 0, leaf: true };
      all.set(name, one);
      const above = name.lastIndexOf('/');
      if (above > 0) seen(name.slice(0, above)).leaf = false;
    }
    return one;
  };
  return {
    read(line) {
      const event = parseEvent(line);
      if (event?.Test === undefined) {
        outside.push((event?.Output ?? (event === undefined ? line : '')).trimEnd());
        if (outside.length > KEPT_LINES) outside.shift();
        return undefined;
      }
      const one = seen(event.Test);
      if (event.Action === 'output' && one.notes.length < KEPT_NOTES && note.test(event.Output ?? ''))
        one.notes.push((event.Output ?? '').trim());
      if (event.Action !== 'pass' && event.Action !== 'fail' && event.Action !== 'skip') return undefined;
      one.end = event.Action;
      one.seconds = event.Elapsed ?? 0;
      return event.Test.includes('/') ? undefined : event.Test;
    },
    tests: () =>
      [...all].filter(([name]) => !name.includes('/')).map(([name, one]) => summary(name, one, all)),
    said: () => outside.filter((line) => line !== '').join('\n'),
  };
}

function summary(name: string, one: Seen, all: ReadonlyMap<string, Seen>): SuiteTest {
  const below = [...all].filter(([other]) => other.startsWith(`${name}/`));
  const leaves = below.filter(([, { leaf }]) => leaf);
  const count = (end: Seen['end']): number => leaves.filter(([, leaf]) => leaf.end === end).length;
  const parts = { passed: count('pass'), failed: count('fail'), skipped: count('skip') };
  const of = (end: Seen['end']): string => {
    const [where, what] =
      [...leaves, ...below, [name, one] as const].find(
        ([, part]) => part.end === end && part.notes.length > 0,
      ) ?? [];
    const said = what?.notes[end === 'fail' ? 0 : what.notes.length - 1] ?? '';
    return where === undefined || where === name ? said : `${where.slice(name.length + 1)}: ${said}`;
  };
  const failures = leaves
    .filter(([, { end }]) => end === 'fail' || end === undefined)
    .map(([part, { seconds, notes, end }]) => ({
      name: part.slice(name.length + 1),
      seconds,
      reason: notes[0] ?? (end === undefined ? 'it did not end' : ''),
    }));
  const result = { name, seconds: one.seconds, parts, failures };
  if (one.end === undefined) return { ...result, result: 'failed', reason: 'it did not end' };
  if (one.end === 'fail') return { ...result, result: 'failed', reason: of('fail') };
  // A test whose every part declined ran nothing.
  if (one.end === 'skip' || (leaves.length > 0 && parts.passed === 0))
    return { ...result, result: 'not runnable', reason: of('skip') };
  return { ...result, result: 'passed', reason: '' };
}

function parseEvent(line: string): TestEvent | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as TestEvent;
  } catch {
    return undefined;
  }
}

/** A table of tests for a person. */
export function suiteTable(tests: readonly SuiteTest[]): string {
  const width = Math.max(4, ...tests.map(({ name }) => name.length));
  const row = (name: string, result: string, seconds: string, reason: string): string =>
    `${name.padEnd(width)}  ${result.padEnd(12)}  ${seconds.padStart(7)}  ${reason}`.trimEnd();
  return [
    row('test', 'result', 'seconds', 'parts, reason'),
    ...tests.flatMap(({ name, result, seconds, parts, reason, failures }) => {
      const counts = Object.entries(parts).flatMap(([what, number]) =>
        number > 0 ? [`${number} ${what}`] : [],
      );
      const ran = result !== 'not runnable' || seconds > 0;
      const said = [...counts, reason].filter(Boolean).join('; ').slice(0, 300);
      return [
        row(name, result, ran ? seconds.toFixed(1) : '', said),
        ...failures.map((part) =>
          row(`  ${part.name}`, 'failed', part.seconds.toFixed(1), part.reason.slice(0, 300)),
        ),
      ];
    }),
  ].join('\n');
}
