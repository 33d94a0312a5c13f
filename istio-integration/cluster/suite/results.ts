/** One of Istio's tests, with everything below it. */
export interface SuiteTest {
  readonly name: string;
  readonly result: 'passed' | 'failed' | 'not runnable';
  readonly seconds: number;
  /** Counts of the leaf tests below it. */
  readonly parts: { readonly passed: number; readonly failed: number; readonly skipped: number };
  /** Reason why it is not runnable, or the first words of its failure. */
  readonly reason: string;
  /** The leaf parts that failed or did not end. */
  readonly failures: readonly FailedPart[];
}

/** A part of a test that failed. */
export interface FailedPart {
  /** Below the test's own name. */
  readonly name: string;
  readonly seconds: number;
  /** The first words of its failure. */
  readonly reason: string;
}

/** A line of the output of `go tool test2json`. */
interface TestEvent {
  readonly Action: string;
  readonly Test?: string;
  readonly Output?: string;
  readonly Elapsed?: number;
}

/** Results of a test or a part of one so far. */
interface Seen {
  readonly notes: string[];
  end: 'pass' | 'fail' | 'skip' | undefined;
  seconds: number;
  leaf: boolean;
}

/** Reads the output of a run of Istio's tests, line by line, in the format of `go tool test2json`. */
export interface SuiteReader {
  /** Returns the top-level test that ended with this line, if any. */
  read(line: string): string | undefined;
  /** All started tests, in order. */
  tests(): SuiteTest[];
  /** The last lines of output outside tests. */
  said(): string;
}

const KEPT_NOTES = 40;
const KEPT_LINES = 60;
/** A log line of a test: file and line of its source, and a text. */
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
  // A test whose parts all skip themselves ran nothing.
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

/** A readable table of tests. */
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
