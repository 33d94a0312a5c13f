/**
 * What a scrape costs at 1,000, 10,000 and 100,000 series: time to render, memory, and the latency of proxied
 * traffic while scrapes run and while they do not, round by round in turn.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MessageChannel, Worker } from 'node:worker_threads';
import {
  createConnectionObserver,
  createSeriesBudget,
  MetricRecorder,
  MetricStore,
  renderStore,
  startScrapeServer,
} from '@kmesh/probe';
import { workload } from '../test/e2e/probe-traffic.ts';
import { startTunnelWorld } from '../test/e2e/probe-tunnel-world.ts';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './report.ts';

const sizes = [1000, 10_000, 100_000] as const;
const rounds = 9;
const roundMilliseconds = 2000;
const scrapeIntervalMilliseconds = 1000;

/** The suite `scrape`. */
export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  for (const size of sizes) {
    const rendering = render(size);
    figures.push(figure('render', `${size} series`, 'ms', rendering));
    if (size === 100_000) ratios.push(atMost('render 100,000 series, ms', median(rendering), 100));
    await measureTraffic(size, figures, ratios);
  }
  await measureTunnel(100_000, figures, ratios);
  return { suite: 'scrape', environment: environment(), figures, ratios };
}

/** Milliseconds to render a store of so many series. */
function render(series: number): number[] {
  const { port1, port2 } = new MessageChannel();
  const store = new MetricStore();
  store.attach(port2);
  const recorder = new MetricRecorder({ port: port1, budget: createSeriesBudget(1_000_000) });
  const observer = createConnectionObserver({ recorder });
  const destination = workload('server', '10.1.0.1');
  for (let index = 0; index < series / 13; index++) {
    observer
      .opened({
        reporter: 'source',
        path: 'tunnel',
        sourceAddress: '10.0.0.1:41000',
        destinationAddress: '10.1.0.1:8080',
        source: workload(`client-${index}`, '10.0.0.1'),
        destination,
        securityPolicy: 'unknown',
      })
      .close({ flag: '-', bytesFromClient: index * 1000, bytesFromServer: index });
  }
  store.refresh();
  const times = Array.from({ length: rounds + 1 }, () => {
    const began = performance.now();
    let bytes = 0;
    for (const piece of renderStore(store)) bytes += piece.length;
    if (bytes === 0) throw new Error('nothing rendered');
    return performance.now() - began;
  });
  store.close();
  recorder.close();
  return times.slice(1);
}

async function measureTraffic(series: number, figures: Figure[], ratios: Ratio[]): Promise<void> {
  const before = residentMegabytes();
  const server = await startScrapeServer({ host: '127.0.0.1', port: 0, maximumSeries: 1_000_000 });
  const load = fork(new URL('./scrape/load.ts', import.meta.url));
  const scraper = fork(new URL('./scrape/scraper.ts', import.meta.url));
  const { echo } = await answer<{ echo: number }>(load);
  const channel = server.recorderChannel();
  const proxy = new Worker(new URL('./scrape/proxy-worker.ts', import.meta.url), {
    workerData: { channel, series, target: echo },
    transferList: [channel.port],
  });
  try {
    const [port] = (await once(proxy, 'message')) as [number];
    load.send({ port });
    await answer(load);
    await measureRounds(`http://127.0.0.1:${server.port}/metrics`, series, load, scraper, figures, ratios);
    figures.push(figure('memory', `${series} series`, 'MB', [residentMegabytes() - before]));
  } finally {
    const ended = once(proxy, 'exit');
    load.disconnect();
    scraper.disconnect();
    proxy.postMessage('end');
    await ended;
    await server.close();
  }
}

/** The same for the product's own tunnel between two nodes. */
async function measureTunnel(series: number, figures: Figure[], ratios: Ratio[]): Promise<void> {
  await using world = await startTunnelWorld(series);
  const scraper = fork(new URL('./scrape/scraper.ts', import.meta.url));
  const quiet: number[] = [];
  const scraped: number[] = [];
  const seconds = roundMilliseconds / 1000;
  try {
    for (let round = -1; round < rounds; round++) {
      const without = await world.latency(seconds);
      scraper.send({ url: world.metricsUrl, intervalMilliseconds: scrapeIntervalMilliseconds });
      const withScrapes = await world.latency(seconds);
      scraper.send({ stop: true });
      await answer(scraper);
      if (round < 0) continue;
      quiet.push(without);
      scraped.push(withScrapes);
    }
  } finally {
    scraper.disconnect();
  }
  figures.push(figure('p99 through the tunnel, no scrape', `${series} series`, 'µs', quiet));
  figures.push(figure('p99 through the tunnel, a scrape per second', `${series} series`, 'µs', scraped));
  ratios.push(
    atMost(
      `p99 through the tunnel during scrapes to p99 without, ${series} series`,
      median(scraped) / median(quiet),
      1.05,
    ),
  );
}

async function measureRounds(
  url: string,
  series: number,
  load: ChildProcess,
  scraper: ChildProcess,
  figures: Figure[],
  ratios: Ratio[],
): Promise<void> {
  const quiet: number[] = [];
  const scraped: number[] = [];
  const durations: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const without = await loadRound(load);
    scraper.send({ url, intervalMilliseconds: scrapeIntervalMilliseconds });
    const withScrapes = await loadRound(load);
    scraper.send({ stop: true });
    const result = await answer<{ durations: number[] }>(scraper);
    // The first round warms up.
    if (round < 0) continue;
    quiet.push(without);
    scraped.push(withScrapes);
    durations.push(...result.durations);
    await sleep(100);
  }
  figures.push(figure('p99 of proxied traffic, no scrape', `${series} series`, 'µs', quiet));
  figures.push(figure('p99 of proxied traffic, a scrape per second', `${series} series`, 'µs', scraped));
  figures.push(figure('whole scrape with gzip', `${series} series`, 'ms', durations));
  ratios.push(
    atMost(`p99 during scrapes to p99 without, ${series} series`, median(scraped) / median(quiet), 1.05),
  );
}

async function loadRound(load: ChildProcess): Promise<number> {
  load.send({ milliseconds: roundMilliseconds });
  return (await answer<{ p99: number }>(load)).p99;
}

async function answer<T>(child: ChildProcess): Promise<T> {
  const [message] = (await once(child, 'message')) as [T];
  return message;
}

function residentMegabytes(): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}
