import type { ConnectionObserver } from '../../src/connection.ts';
import type { AccessLog } from '../../src/log/access-log.ts';
import { MetricRecorder } from '../../src/metrics/recorder.ts';
import { createConnectionObserver } from '../../src/observer.ts';
import type { ScrapeServerOptions } from '../../src/scrape/scrape-server.ts';
import { type ScrapeServer, startScrapeServer } from '../../src/scrape/scrape-server.ts';

export interface Probe {
  readonly server: ScrapeServer;
  readonly recorder: MetricRecorder;
  readonly observer: ConnectionObserver;
  /** The text of `/metrics`. */
  scrape(): Promise<string>;
  /** The sum of a metric over the series that have all these labels. */
  sum(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
}

/** A scrape server on a free loopback port with one recorder and observer, closed when the test ends. */
export async function startProbe(
  cleanup: { after(close: () => Promise<void>): void },
  options: ScrapeServerOptions & { accessLog?: AccessLog } = {},
): Promise<Probe> {
  const server = await startScrapeServer({ host: '127.0.0.1', port: 0, ...options });
  cleanup.after(() => server.close());
  const recorder = new MetricRecorder(server.recorderChannel());
  const { accessLog } = options;
  const observer = createConnectionObserver(accessLog ? { recorder, accessLog } : { recorder });
  const scrape = async () => (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
  return {
    server,
    recorder,
    observer,
    scrape,
    sum: async (name, labels) => sumOf(await scrape(), name, labels),
  };
}

/** The sum of a metric in an exposition over the series that have all these labels. */
export function sumOf(text: string, name: string, labels: Readonly<Record<string, string>> = {}): number {
  return samples(text, name, labels).reduce(
    (sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)),
    0,
  );
}

/** The lines of a metric that have all these labels. */
export function samples(text: string, name: string, labels: Readonly<Record<string, string>> = {}): string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`)));
}
