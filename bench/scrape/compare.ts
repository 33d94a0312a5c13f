import { setTimeout as sleep } from 'node:timers/promises';
import { drive, type PacedEcho, type Sample } from './driver.ts';

/** Activity during a window of traffic. The two quiet kinds differ only in their name. */
export const windowKinds = ['quiet', 'quietAgain', 'scraped', 'often'] as const;
export type WindowKind = (typeof windowKinds)[number];

interface Window {
  readonly milliseconds: number;
  /** Milliseconds from one scrape to the next. */
  readonly interval?: number;
}

const windows: Readonly<Record<WindowKind, Window>> = {
  quiet: { milliseconds: 5000 },
  quietAgain: { milliseconds: 5000 },
  scraped: { milliseconds: 5000, interval: 5000 },
  // So that enough messages coincide with a scrape.
  often: { milliseconds: 1000, interval: 50 },
};

/** Latencies of one kind of window, microseconds. */
export interface Latencies {
  /** Of all messages. */
  readonly all: number[];
  /** 99th percentile of each window. */
  readonly windows: number[];
}

export interface Comparison {
  readonly latencies: Readonly<Record<WindowKind, Latencies>>;
  /** Of messages during a scrape, in the windows with frequent scrapes. */
  readonly during: Latencies;
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

/**
 * Latencies while a node is scraped once in five seconds, 20 times a second, and not at all, twice: one window of each
 * in a round. Which comes first changes from one round to the next.
 */
export async function compare(options: CompareOptions): Promise<Comparison> {
  const { client, scraper } = options;
  const empty = (): Latencies => ({ all: [], windows: [] });
  const latencies = { quiet: empty(), quietAgain: empty(), scraped: empty(), often: empty() };
  const during = empty();
  const durations: number[] = [];
  let bytes = 0;

  const take = async (kind: WindowKind) => {
    const { milliseconds, interval } = windows[kind];
    const scrapes = interval === undefined ? [] : drive(scraper, milliseconds, interval);
    return { messages: await drive(client, milliseconds), scrapes: await scrapes };
  };
  // Warms up.
  for (const kind of windowKinds) await take(kind);
  for (let round = 0; round < options.rounds; round++) {
    for (let turn = 0; turn < windowKinds.length; turn++) {
      const kind = windowKinds[(round + turn) % windowKinds.length] ?? 'quiet';
      // Waits until work of the last window is done.
      await sleep(50);
      const { messages, scrapes } = await take(kind);
      add(latencies[kind], messages);
      if (kind === 'scraped') durations.push(...scrapes.map(({ latency }) => latency / 1000));
      if (kind === 'often')
        add(
          during,
          messages.filter((message) => overlaps(message, scrapes)),
        );
      bytes = scrapes[0]?.bytes ?? bytes;
    }
  }
  return { latencies, during, durations, bytes };
}

/** Returns the value below which the given part of the values lies. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

function add({ all, windows }: { all: number[]; windows: number[] }, messages: readonly Sample[]): void {
  const values = messages.map(({ latency }) => latency);
  all.push(...values);
  if (values.length > 0) windows.push(percentile(values, 0.99));
}

function overlaps({ start, latency }: Sample, scrapes: readonly Sample[]): boolean {
  return scrapes.some((scrape) => start < scrape.start + scrape.latency && start + latency > scrape.start);
}
