import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { drive, type PacedEcho, type Sample } from './driver.ts';
import type { Span } from './scraper.ts';

/** Latencies in microseconds. */
export interface Comparison {
  readonly quiet: readonly number[];
  readonly scraped: readonly number[];
  /** Those of `scraped` that were under way while a scrape was. */
  readonly overlapping: readonly number[];
  /** Milliseconds of each scrape. */
  readonly durations: readonly number[];
  /** Of one scrape. */
  readonly bytes: number;
  /** 99th percentile of each round. */
  readonly rounds: { readonly quiet: readonly number[]; readonly scraped: readonly number[] };
}

export interface CompareOptions {
  readonly client: PacedEcho;
  readonly port: number;
  readonly rounds: number;
  readonly roundMilliseconds: number;
  readonly intervalMilliseconds: number;
}

/**
 * Latencies while a node is scraped and while it is not, round by round in turn; which comes first changes from one round
 * to the next.
 */
export async function compare(options: CompareOptions): Promise<Comparison> {
  const { client, port, roundMilliseconds, intervalMilliseconds } = options;
  const scraper = fork(new URL('./scraper.ts', import.meta.url));
  const [quiet, scraped, overlapping, durations]: [number[], number[], number[], number[]] = [[], [], [], []];
  const rounds: { quiet: number[]; scraped: number[] } = { quiet: [], scraped: [] };
  let bytes = 0;
  const without = async () => latenciesOf(await drive(client, roundMilliseconds));
  const withScrapes = async () => {
    scraper.send({ port, intervalMilliseconds });
    const samples = await drive(client, roundMilliseconds);
    scraper.send({ stop: true });
    return { samples, ...(await answer<{ spans: Span[]; bytes: number }>(scraper)) };
  };
  try {
    execFileSync('chrt', ['--all-tasks', '--idle', '--pid', '0', `${scraper.pid}`]);
    // Warms up.
    await without();
    await withScrapes();
    for (let round = 0; round < options.rounds; round++) {
      const first = round % 2 === 0 ? await without() : undefined;
      const result = await withScrapes();
      await sleep(20);
      const latencies = first ?? (await without());
      quiet.push(...latencies);
      scraped.push(...latenciesOf(result.samples));
      overlapping.push(...latenciesOf(result.samples.filter((sample) => overlaps(sample, result.spans))));
      durations.push(...result.spans.map(([began, ended]) => (ended - began) / 1000));
      ({ bytes } = result);
      rounds.quiet.push(percentile(latencies, 0.99));
      rounds.scraped.push(percentile(latenciesOf(result.samples), 0.99));
    }
  } finally {
    scraper.disconnect();
  }
  return { quiet, scraped, overlapping, durations, bytes, rounds };
}

/** The value below which so large a part of the values is. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/**
 * The same percentile of traffic on a node that is scraped at an interval: messages during a scrape in their share of the
 * time, the others as they are without scrapes. What else a machine does in one round and not in another is then the same on
 * both sides of a comparison.
 */
export function scrapedPercentile(
  { quiet, overlapping, durations }: Comparison,
  part: number,
  intervalMilliseconds: number,
): number {
  const share = percentile(durations, 0.5) / intervalMilliseconds;
  const weighted = [
    ...quiet.map((latency) => ({ latency, weight: (1 - share) / quiet.length })),
    ...overlapping.map((latency) => ({ latency, weight: share / overlapping.length })),
  ].sort((left, right) => left.latency - right.latency);
  let below = 0;
  for (const { latency, weight } of weighted) {
    below += weight;
    if (below > part) return latency;
  }
  return Number.NaN;
}

const latenciesOf = (samples: readonly Sample[]) => samples.map(({ latency }) => latency);

function overlaps({ start, latency }: Sample, spans: readonly Span[]): boolean {
  return spans.some(([began, ended]) => start < ended && start + latency > began);
}

async function answer<T>(child: ChildProcess): Promise<T> {
  const [message] = (await once(child, 'message')) as [T];
  return message;
}
