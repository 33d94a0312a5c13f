/**
 * What a scrape costs at 1,000, 10,000 and 100,000 series: time to render, memory, and the latency of proxied
 * traffic while a node is scraped and while it is not, round by round in turn. Percentiles are those of all messages of all
 * rounds; the spread is that of the rounds. The bound is on a node that is scraped as often as Prometheus does it.
 */
import { readFileSync } from 'node:fs';
import { MessageChannel } from 'node:worker_threads';
import {
  createConnectionObserver,
  createSeriesBudget,
  gzipExposition,
  MetricRecorder,
  MetricStore,
  renderStore,
} from '@kmesh/probe';
import { workload } from '../test/e2e/probe-traffic.ts';
import { startTunnelWorld } from '../test/e2e/probe-tunnel-world.ts';
import { atMost, environment, type Figure, figure, type Ratio, type Report } from './report.ts';
import { type Comparison, compare, percentile, scrapedPercentile } from './scrape/compare.ts';
import { startPacedEcho } from './scrape/driver.ts';

const sizes = [1000, 10_000, 100_000] as const;
const rounds = Number(process.env['KMESH_BENCH_ROUNDS'] ?? 12);
const messagesPerSecond = 1000;
/** How often Istio's Prometheus scrapes. */
const prometheusMilliseconds = 15_000;
/** So much more often there are enough messages during scrapes to tell how they fare. */
const times = { roundMilliseconds: 2000, intervalMilliseconds: 1000 } as const;

/** The suite `scrape`. */
export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  for (const size of sizes) {
    const { text, gzip } = render(size);
    figures.push(figure('render as text', `${size} series`, 'ms', text));
    figures.push(figure('render as gzip', `${size} series`, 'ms', gzip));
    if (size === 100_000) {
      ratios.push(atMost('render 100,000 series as text, ms', median(text), 100));
      ratios.push(atMost('render 100,000 series as gzip, ms', median(gzip), 100));
    }
    await measureTunnel(size, figures, ratios);
  }
  return { suite: 'scrape', environment: environment(), figures, ratios };
}

/** Milliseconds to render a store of so many series. */
function render(series: number): { readonly text: number[]; readonly gzip: number[] } {
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
  const text = time(() => renderStore(store));
  // With what is known from the scrape before, as it always is but once.
  const gzip = time(() => gzipExposition(store, []));
  store.close();
  recorder.close();
  return { text, gzip };
}

function time(body: () => Iterable<Uint8Array>): number[] {
  const all = Array.from({ length: 10 }, () => {
    const began = performance.now();
    let bytes = 0;
    for (const piece of body()) bytes += piece.length;
    if (bytes === 0) throw new Error('nothing rendered');
    return performance.now() - began;
  });
  return all.slice(1);
}

/** Two nodes with the product's own tunnel between client and server; the client's proxy is scraped. */
async function measureTunnel(series: number, figures: Figure[], ratios: Ratio[]): Promise<void> {
  await using world = await startTunnelWorld(series);
  await world.server.serve({ port: 8081, mode: 'echo' });
  const client = startPacedEcho(
    ['drive', world.server.addresses.v4, '8081', '16', `${messagesPerSecond}`],
    (command, args, options) => world.client.spawn(command, args, options),
  );
  try {
    const comparison = await compare({ client, port: world.metricsPort, rounds, ...times });
    report(series, comparison, figures, ratios);
    figures.push(
      figure('memory of the proxy', `${series} series`, 'MB', [residentMegabytes(world.scrapedPid)]),
    );
  } finally {
    client.process.kill('SIGKILL');
  }
}

function report(series: number, comparison: Comparison, figures: Figure[], ratios: Ratio[]): void {
  const { quiet, scraped, overlapping, durations, bytes, rounds: each } = comparison;
  const contestant = `${series} series`;
  const withSpread = (name: string, values: readonly number[], spread: readonly number[]) =>
    figures.push({
      ...figure(`p99 through the tunnel, ${name}`, contestant, 'µs', spread),
      value: Number(percentile(values, 0.99).toPrecision(4)),
    });
  withSpread('no scrape', quiet, each.quiet);
  withSpread('a scrape per second', scraped, each.scraped);
  figures.push(
    figure('p99 through the tunnel, of messages during a scrape', contestant, 'µs', [
      percentile(overlapping, 0.99),
    ]),
    figure('median through the tunnel, no scrape', contestant, 'µs', [percentile(quiet, 0.5)]),
    figure('median through the tunnel, of messages during a scrape', contestant, 'µs', [
      percentile(overlapping, 0.5),
    ]),
    figure('whole scrape with gzip', contestant, 'ms', durations),
    figure('size of a scrape', contestant, 'kB', [bytes / 1000]),
  );
  const ratio = scrapedPercentile(comparison, 0.99, prometheusMilliseconds) / percentile(quiet, 0.99);
  ratios.push(atMost(`p99 with a scrape every 15 s to p99 without, ${contestant}`, ratio, 1.05));
}

function residentMegabytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}
