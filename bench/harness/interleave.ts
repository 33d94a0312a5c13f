/** Interleaves the measurements of contestants over several rounds; computes medians, and ratios within a round. */
import { interrupted, reportProgress, sayInterruptible } from './child.ts';
import { type Figure, figure, median, type Ratio, significant } from './report.ts';

/** Maximum drift of a baseline within one run, (highest − lowest) / median; beyond it, no ratio is computed. */
export const MAXIMUM_DRIFT = 0.3;

/** Results of one contestant in one round, by name of the figure. */
export type Found = Readonly<Record<string, number>>;

/** All complete rounds, each with the results by contestant. */
export type Rounds = readonly ReadonlyMap<string, Found>[];

interface Interleaving<One extends { readonly name: string }> {
  readonly contestants: readonly One[];
  /** Each measurement runs on all contestants in turn before the next begins. */
  readonly measurements: readonly ((one: One) => Promise<Found>)[];
  readonly rounds: number;
}

/**
 * Runs the rounds. An interrupted run ends immediately, with the complete rounds.
 *
 * @throws Error when interrupted before the first round was complete.
 */
export async function interleave<One extends { readonly name: string }>(
  interleaving: Interleaving<One>,
): Promise<Rounds> {
  const { contestants, measurements, rounds } = interleaving;
  using _ = sayInterruptible();
  const done: Map<string, Found>[] = [];
  const steps = rounds * measurements.length * contestants.length;
  let step = 0;
  for (let round = 0; round < rounds; round++) {
    const found = new Map<string, Found>();
    for (const measurement of measurements) {
      // Alternate the order, so that no contestant always follows the same other one.
      for (const one of round % 2 === 0 ? contestants : contestants.toReversed()) {
        reportProgress(step++ / steps, `round ${round + 1} of ${rounds}`);
        try {
          found.set(one.name, { ...found.get(one.name), ...(await measurement(one)) });
        } catch (error) {
          // The same Ctrl-C also ends the measured programs.
          if (!interrupted()) throw error;
        }
        if (interrupted()) return complete(done);
      }
    }
    done.push(found);
  }
  return done;
}

function complete(done: Rounds): Rounds {
  if (done.length === 0) throw new Error('interrupted before the first round was complete');
  return done;
}

/** Returns the values of one figure of one contestant, in order of the rounds. */
export function valuesOf(rounds: Rounds, name: string, contestant: string): number[] {
  return rounds.map((found) => found.get(contestant)?.[name] ?? Number.NaN);
}

/** Returns the figures of all contestants that have them; `units` has their names in order. */
export function figuresOf(
  rounds: Rounds,
  units: Readonly<Record<string, string>>,
  contestants: readonly { readonly name: string }[],
): Figure[] {
  return Object.entries(units).flatMap(([name, unit]) =>
    contestants
      .map((one) => figure(name, one.name, unit, valuesOf(rounds, name, one.name)))
      .filter(({ value }) => !Number.isNaN(value)),
  );
}

/** A comparison of two figures in each round, with its bound. */
export interface Bound {
  readonly figure: string;
  readonly of: string;
  readonly to: string;
  readonly kind: 'atLeast' | 'atMost';
  readonly bound: number;
  /** Subtracted from both sides first, so that only the excess is compared. */
  readonly above?: string;
  /** Contestant whose drift is checked, if not `to`. */
  readonly baseline?: string;
}

/** Divides round by round. Returns no number if the baseline drifted more than {@link MAXIMUM_DRIFT}. */
export function ratioOf(rounds: Rounds, bound: Bound): Ratio {
  const { figure: name, of, to, above, baseline = above ?? to, kind, bound: limit } = bound;
  const title = `${name}${above === undefined ? '' : `, added to ${above}`}: ${of} / ${to}`;
  const drift = driftOf(valuesOf(rounds, name, baseline));
  if (!(drift <= MAXIMUM_DRIFT)) {
    const because = `${baseline} drifted by ${Math.round(drift * 100)} %, more than ${MAXIMUM_DRIFT * 100} %`;
    return { name: title, value: null, bound: limit, kind, ok: false, because };
  }
  const base = above === undefined ? undefined : valuesOf(rounds, name, above);
  const others = valuesOf(rounds, name, to);
  const quotients = valuesOf(rounds, name, of).map(
    (value, at) => (value - (base?.[at] ?? 0)) / ((others[at] ?? Number.NaN) - (base?.[at] ?? 0)),
  );
  const value = hundredths(median(quotients));
  const spread = [significant(Math.min(...quotients)), significant(Math.max(...quotients))] as const;
  return {
    name: title,
    value,
    spread,
    bound: limit,
    kind,
    ok: kind === 'atLeast' ? value >= limit : value <= limit,
  };
}

/** Returns the range of values divided by their median. */
export function driftOf(values: readonly number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

function hundredths(value: number): number {
  return Math.round(value * 100) / 100;
}
