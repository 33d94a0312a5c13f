import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../harness/report.ts';
import { drive, type PacedEcho, type Sample } from './driver.ts';

/** Activity during a window of traffic. */
export type WindowKind = 'quiet' | 'scraped' | 'calm' | 'often';

interface Window {
  readonly milliseconds: number;
  /** Milliseconds from one scrape to the next. */
  readonly interval?: number;
}

const windows: Readonly<Record<WindowKind, Window>> = {
  quiet: { milliseconds: 5000 },
  scraped: { milliseconds: 5000, interval: 5000 },
  // A pair: so short that the speed of the machine rarely changes in between, so often that all of it is in scrapes.
  calm: { milliseconds: 1000 },
  often: { milliseconds: 1000, interval: 50 },
};

/** In each round; the reverse order in every other one. */
const schedule = [
  'quiet',
  'calm',
  'often',
  'often',
  'calm',
  'scraped',
  'calm',
  'often',
  'often',
  'calm',
] as const;

/** Latencies of the messages of one window, microseconds. */
export type Latencies = readonly number[];

export interface Comparison {
  readonly latencies: Readonly<Record<WindowKind, readonly Latencies[]>>;
  /** Of messages during a scrape, in the windows with frequent scrapes. */
  readonly during: readonly Latencies[];
  /** The part of the messages that coincided with the scrape, in the windows with one in five seconds. */
  readonly share: number;
  /** Milliseconds of each scrape in the windows that have one. */
  readonly durations: readonly number[];
  /** Of one scrape. */
  readonly bytes: number;
}

export interface CompareOptions {
  readonly client: PacedEcho;
  readonly scraper: PacedEcho;
  readonly rounds: number;
}

/** Latencies while a node is scraped once in five seconds, 20 times a second, and not at all. */
export async function compare(options: CompareOptions): Promise<Comparison> {
  const { client, scraper } = options;
  const latencies: Record<WindowKind, Latencies[]> = { quiet: [], scraped: [], calm: [], often: [] };
  const during: Latencies[] = [];
  const shares: number[] = [];
  const durations: number[] = [];
  let bytes = 0;

  const take = async (kind: WindowKind) => {
    const { milliseconds, interval } = windows[kind];
    const scrapes = interval === undefined ? [] : drive(scraper, milliseconds, interval);
    return { messages: await drive(client, milliseconds), scrapes: await scrapes };
  };
  // Warms up.
  for (const kind of ['calm', 'often', 'often', 'often'] as const) await take(kind);
  for (let round = 0; round < options.rounds; round++) {
    for (const kind of round % 2 === 0 ? schedule : schedule.toReversed()) {
      // Waits until work of the last window is done.
      await sleep(50);
      const { messages, scrapes } = await take(kind);
      const coincident = messages.filter((message) => overlaps(message, scrapes));
      latencies[kind].push(messages.map(({ latency }) => latency));
      if (kind === 'scraped') {
        durations.push(...scrapes.map(({ latency }) => latency / 1000));
        shares.push(coincident.length / messages.length);
      }
      if (kind === 'often') during.push(coincident.map(({ latency }) => latency));
      bytes = scrapes[0]?.bytes ?? bytes;
    }
  }
  return { latencies, during, share: median(shares), durations, bytes };
}

/**
 * Returns the 99th percentile with one scrape in five seconds to that without, for each pair of windows: of the calm
 * window, with a share of its messages replaced by messages during scrapes.
 */
export function effectOfScrape({ latencies, during, share }: Comparison): number[] {
  return latencies.calm.map((calm, pair) => {
    const slowed = mixedPercentile(
      [
        { values: calm, share: 1 - share },
        { values: during[pair] ?? [], share },
      ],
      0.99,
    );
    return slowed / percentile(calm, 0.99);
  });
}

/** Returns the value below which the given part of the values lies. */
export function percentile(values: readonly number[], part: number): number {
  return mixedPercentile([{ values, share: 1 }], part);
}

/** Returns the same of a mixture, in which the values of each kind make up the given share. */
export function mixedPercentile(
  kinds: readonly { readonly values: readonly number[]; readonly share: number }[],
  part: number,
): number {
  const weighted = kinds
    .flatMap(({ values, share }) => values.map((value) => ({ value, weight: share / values.length })))
    .sort((left, right) => left.value - right.value);
  // The weights of as many values do not add up to exactly one.
  let rest = part + 1e-9;
  for (const { value, weight } of weighted) {
    rest -= weight;
    if (rest < 0) return value;
  }
  return weighted.at(-1)?.value ?? Number.NaN;
}

function overlaps({ start, latency }: Sample, scrapes: readonly Sample[]): boolean {
  return scrapes.some((scrape) => start < scrape.start + scrape.latency && start + latency > scrape.start);
}
