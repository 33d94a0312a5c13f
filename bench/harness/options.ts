import { suites } from './suites.ts';

/** Options of a command line. */
export interface BenchOptions {
  /** `report` renders the stored results without measuring. */
  readonly task: 'suites' | 'report';
  /** Suites in order; a run of all suites does not include `guard`. */
  readonly names: readonly string[];
  readonly quick: boolean;
  readonly json: boolean;
  readonly store: boolean;
  /** A revision of this repository to compare this tree with. */
  readonly compare: string | undefined;
}

/** Names of several suites. */
const groups: Readonly<Record<'tunnel', readonly string[]>> = { tunnel: ['onenode', 'twonodes'] };

const usage = `usage: npm run bench -- [SUITE…] [--quick] [--json] [--store] [--compare REV]
       npm run bench -- report
       npm run bench -- guard [--json]
suites: ${suites.map(({ name }) => name).join(', ')}; without a name all of them, in this order
        tunnel: ${groups.tunnel.join(' and ')}`;

/** Reads the words after `npm run bench --`. @throws Error with the problem and the usage */
export function readOptions(words: readonly string[]): BenchOptions {
  const names: string[] = [];
  const flags = new Set<string>();
  let compare: string | undefined;
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    if (word === '--compare') {
      compare = words[++at];
      if (compare === undefined || compare.startsWith('-')) throw wrong('--compare needs a revision');
    } else if (['--quick', '--json', '--store'].includes(word)) flags.add(word);
    else if (word.startsWith('-')) throw wrong(`${word} is not an option`);
    else names.push(...(word === 'tunnel' ? groups.tunnel : [word]));
  }
  const [first = ''] = names;
  const task = first === 'report' ? first : 'suites';
  const alone = ['report', 'guard'].find((name) => names.includes(name));
  if (alone !== undefined && (names.length > 1 || compare !== undefined || flags.has('--store')))
    throw wrong(`${alone} stands alone`);
  const unknown = names.find((name) => name !== alone && suites.every((suite) => suite.name !== name));
  if (unknown !== undefined) throw wrong(`"${unknown}" is not a suite`);
  if (flags.has('--quick') && flags.has('--store'))
    throw wrong('figures of a --quick run are not stored: leave out one of the two');
  if (compare !== undefined && flags.has('--store'))
    throw wrong('a comparison of two revisions is not stored: leave out one of the two');
  return {
    task,
    names: task === 'report' ? [] : names.length > 0 ? names : suites.map(({ name }) => name),
    quick: flags.has('--quick'),
    json: flags.has('--json'),
    store: flags.has('--store'),
    compare,
  };
}

function wrong(what: string): Error {
  return new Error(`bench: ${what}\n${usage}`);
}
