import { setTimeout as sleep } from 'node:timers/promises';
import { drive, type PacedEcho, type Sample } from './driver.ts';

/** What happens beside the traffic in a window of time. The two quiet ones differ in nothing but their name. */
export const windowKinds = ['quiet', 'quietAgain', 'everySecond', 'often'] as const;
export type WindowKind = (typeof windowKinds)[number];

/** Milliseconds from one scrape to the next. Often: so that enough messages meet one. */
const intervals: Readonly<Partial<Record<WindowKind, number>>> = { everySecond: 1000, often: 50 };

/** Latencies of one kind of window, microseconds. */
export interface Latencies {
  /** Of all messages. */
  readonly all: number[];
  /** 99th percentile of each window. */
  readonly windows: number[];
}

export interface Comparison {
  readonly latencies: Readonly<Record<WindowKind, Latencies>>;
  /** Of messages that were under way while a scrape was, in the windows that are scraped often. */
  readonly during: Latencies;
  /** Milliseconds of each scrape in windows of one per second. */
  readonly durations: readonly number[];
  /** Of one scrape. */
  readonly bytes: number;
}

export interface CompareOptions {
  readonly client: PacedEcho;
  readonly scraper: PacedEcho;
  readonly rounds: number;
  readonly windowMilliseconds: number;
}

/**
 * Latencies while a node is scraped once a second, often, and not at all, twice: one window of each in a round. Which
 * comes first changes from one round to the next.
 */
export async function compare(options: CompareOptions): Promise<Comparison> {
  const { client, scraper, windowMilliseconds } = options;
  const empty = (): Latencies => ({ all: [], windows: [] });
  const latencies = { quiet: empty(), quietAgain: empty(), everySecond: empty(), often: empty() };
  const during = empty();
  const durations: number[] = [];
  let bytes = 0;

  const take = async (kind: WindowKind) => {
    const interval = intervals[kind];
    const scrapes = interval === undefined ? [] : drive(scraper, windowMilliseconds, interval);
    return { messages: await drive(client, windowMilliseconds), scrapes: await scrapes };
  };
  // Warms up.
  for (const kind of windowKinds) await take(kind);
  for (let round = 0; round < options.rounds; round++) {
    for (let turn = 0; turn < windowKinds.length; turn++) {
      const kind = windowKinds[(round + turn) % windowKinds.length] ?? 'quiet';
      // What the last window left behind is done before the next one begins.
      await sleep(50);
      const { messages, scrapes } = await take(kind);
      add(latencies[kind], messages);
      if (kind === 'everySecond') durations.push(...scrapes.map(({ latency }) => latency / 1000));
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

/** The value below which so large a part of the values is. */
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
