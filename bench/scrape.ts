/**
 * Cost of a scrape at 1,000, 10,000 and 100,000 series: time to render, memory, and the latency of proxied traffic with
 * and without scrapes.
 *
 * Traffic: messages of 512 bytes over 16 open connections, 2,000 per second, from a client through the proxies of two
 * nodes to an echo server and back; the client's proxy is scraped. There are windows of five seconds, quiet and with one
 * scrape, and pairs of a second, calm and with 20 scrapes. "During scrapes" are the messages of the last that coincided
 * with a scrape and shared the CPU with it.
 *
 * The bound is for one scrape in five seconds, three times as many as Istio's Prometheus makes. The machine or its host
 * disturb one message of a hundred, and change speed by a fifth every few seconds: p99 of two equal windows of five
 * seconds differs by up to a half, which hides 5 %. Therefore the ratio is computed in each pair, from two distributions:
 * the messages of the calm window, and the same with as many of them replaced by messages during scrapes as coincide
 * with one scrape in five seconds. The percentiles of each kind of window are reported as they are.
 *
 * The scraped proxy has one CPU; client, server, the other proxy and the scraper share the other one. The first three
 * run at real-time priority, the scraper at idle priority, and the kernel discards its bytes: they represent other
 * machines. A program at idle priority also keeps each CPU awake: on a virtual machine a wake-up takes up to 0.7 ms,
 * which would hide the effect. The scraper's remaining cost is its half of a loopback connection, which a network card
 * would carry.
 *
 * `KMESH_BENCH_SERIES` selects one size, `KMESH_BENCH_ROUNDS` sets the number of windows of each kind.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { MessageChannel } from 'node:worker_threads';
import { workload } from '@kmesh/lab/testing/probe/traffic.ts';
import { startTunnelWorld } from '@kmesh/lab/testing/probe/tunnel-world.ts';
import {
  createConnectionObserver,
  createSeriesBudget,
  MetricRecorder,
  MetricStore,
  renderStore,
} from '@kmesh/probe';
import {
  atMost,
  environment,
  type Figure,
  figure,
  median,
  type Ratio,
  type Report,
} from './harness/report.ts';
import { quick, rounds, whole } from './harness/settings.ts';
import { type Comparison, compare, effectOfScrape, percentile } from './scrape/compare.ts';
import { startPacedEcho } from './scrape/driver.ts';

const allSizes = [1000, 10_000, 100_000];
const sizes = sizesToMeasure(process.env['KMESH_BENCH_SERIES']);
const windows = rounds(2);
const messagesPerSecond = 2000;

/** The suite `scrape`. */
export async function suite(): Promise<Report> {
  const figures: Figure[] = [];
  const ratios: Ratio[] = [];
  for (const size of sizes) {
    const text = render(size);
    figures.push(figure('render as text', `${size} series`, 'ms', text));
    if (size === 100_000) ratios.push(atMost('render 100,000 series as text, ms', median(text), 100));
    await measureTunnel(size, figures, ratios);
  }
  return { suite: 'scrape', environment: environment(), figures, ratios };
}

/** @throws if a size is named that is not measured */
function sizesToMeasure(named: string | undefined): readonly number[] {
  if (named === undefined) return quick ? [10_000] : allSizes.filter((size) => !whole || size !== 10_000);
  const size = allSizes.find((one) => `${one}` === named);
  if (size === undefined) throw new Error(`KMESH_BENCH_SERIES: "${named}" is none of ${allSizes.join(', ')}`);
  return [size];
}

/** Milliseconds to render a store of this many series. */
function render(series: number): number[] {
  const { port1, port2 } = new MessageChannel();
  const store = new MetricStore();
  store.attach(port2);
  const recorder = new MetricRecorder({ port: port1, budget: createSeriesBudget(1_000_000) });
  const observer = createConnectionObserver({ recorder });
  const destination = workload('server', '10.1.0.1');
  const connect = (index: number) =>
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
      .close({ flag: '-', bytesFromClient: 1000 + index, bytesFromServer: 1 + index });
  for (let index = 0; index < series / 13; index++) connect(index);
  store.refresh();
  const text = time(() => renderStore(store));
  store.close();
  recorder.close();
  return text;
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
  const server = startPacedEcho(['serve'], (command, args, options) =>
    world.server.spawn(command, args, options),
  );
  const client = startPacedEcho(
    ['drive', world.server.addresses.v4, await server.until('\n'), '16', `${messagesPerSecond}`],
    (command, args, options) => world.client.spawn(command, args, options),
  );
  const scraper = startPacedEcho(['scrape', `${world.metricsPort}`]);
  const spinners = [0, 1].map((processor) => startPacedEcho(['idle', `${processor}`]));
  const others = [server, client, scraper];
  try {
    takeProcessor(1, world.scrapedPid);
    for (const pid of [process.pid, world.otherPid, ...others.map((other) => other.process.pid)])
      takeProcessor(0, pid ?? 0);
    // It represents another machine, undisturbed by this one.
    execFileSync('chrt', ['--all-tasks', '--fifo', '--pid', '1', `${world.otherPid}`]);
    // Work of this process on one window must not affect the next.
    execFileSync('chrt', ['--all-tasks', '--idle', '--pid', '0', `${process.pid}`]);
    const comparison = await compare({ client, scraper, rounds: windows });
    report(series, comparison, figures, ratios);
    figures.push(
      figure('memory of the proxy', `${series} series`, 'MB', [residentMegabytes(world.scrapedPid)]),
    );
  } finally {
    execFileSync('chrt', ['--all-tasks', '--other', '--pid', '0', `${process.pid}`]);
    execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', '0-1', `${process.pid}`]);
    for (const other of [...others, ...spinners]) other.process.kill('SIGKILL');
  }
}

/** Pins all threads of a process to a CPU. */
function takeProcessor(processor: number, pid: number): void {
  execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', `${processor}`, `${pid}`]);
}

function report(series: number, comparison: Comparison, figures: Figure[], ratios: Ratio[]): void {
  const { latencies, during, share, durations, bytes } = comparison;
  const contestant = `${series} series`;
  const kinds = [
    ['no scrape', latencies.quiet],
    ['no scrape, for a second', latencies.calm],
    ['a scrape in five seconds', latencies.scraped],
    ['20 scrapes per second', latencies.often],
    ['during scrapes', during],
  ] as const;
  for (const [name, windows] of kinds) {
    const of = (part: number) => windows.map((values) => percentile(values, part));
    figures.push(
      figure(`p99 through the tunnel, ${name}`, contestant, 'µs', of(0.99)),
      figure(`median through the tunnel, ${name}`, contestant, 'µs', of(0.5)),
    );
  }
  figures.push(
    figure('messages that coincide with a scrape in five seconds', contestant, '%', [share * 100]),
    figure('whole scrape with gzip', contestant, 'ms', durations),
    figure('size of a scrape', contestant, 'kB', [bytes / 1000]),
  );
  const name = 'p99 with a scrape in five seconds to p99 without';
  const effect = figure(name, contestant, '', effectOfScrape(comparison));
  figures.push(effect);
  ratios.push(atMost(`${name}, ${contestant}`, effect.value, 1.05));
}

function residentMegabytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) / 1024;
}
