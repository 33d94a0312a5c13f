import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

interface PrometheusSample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Prometheus {
  /** Runs an instant query. Throws Prometheus's error message when the query does not parse. */
  query(expression: string): Promise<PrometheusSample[]>;
  /** Scrapes that failed so far, with their reason. */
  targetErrors(): Promise<string[]>;
  close(): Promise<void>;
}

interface PrometheusOptions {
  /** `host:port` of the metrics to scrape. */
  readonly target: string;
  /** Labels that service discovery would attach. */
  readonly labels: Readonly<Record<string, string>>;
  readonly ruleFiles: readonly string[];
  readonly scrapeMilliseconds: number;
}

/** Starts Debian's Prometheus on a free loopback port with a separate data folder. */
export async function startPrometheus(options: PrometheusOptions): Promise<Prometheus> {
  const folder = mkdtempSync(join(tmpdir(), `kmesh-prometheus-${process.pid}-`));
  const configuration = {
    global: {
      scrape_interval: `${options.scrapeMilliseconds}ms`,
      scrape_timeout: `${options.scrapeMilliseconds}ms`,
      evaluation_interval: `${options.scrapeMilliseconds}ms`,
    },
    rule_files: options.ruleFiles,
    scrape_configs: [
      {
        job_name: 'kmesh',
        metrics_path: '/stats/prometheus',
        static_configs: [{ targets: [options.target], labels: options.labels }],
      },
    ],
  };
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(configuration));
  const port = await freePort();
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let complaints = '';
  child.stderr?.on('data', (data) => {
    complaints += data;
  });
  const base = `http://127.0.0.1:${port}`;
  const prometheus: Prometheus = {
    async query(expression) {
      const response = await fetch(`${base}/api/v1/query`, {
        method: 'POST',
        body: new URLSearchParams({ query: expression }),
      });
      const answer = (await response.json()) as QueryAnswer;
      if (answer.status !== 'success') throw new Error(`${answer.error}: ${expression}`);
      const { resultType, result } = answer.data;
      if (resultType === 'scalar') return [{ metric: {}, value: Number((result as [number, string])[1]) }];
      return (result as { metric: Record<string, string>; value: [number, string] }[]).map(
        ({ metric, value }) => ({ metric, value: Number(value[1]) }),
      );
    },
    async targetErrors() {
      const answer = (await (await fetch(`${base}/api/v1/targets`)).json()) as {
        data: { activeTargets: { lastError: string }[] };
      };
      return answer.data.activeTargets.map(({ lastError }) => lastError).filter((error) => error !== '');
    },
    async close() {
      await stop(child);
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    await ready(base, child, () => complaints);
  } catch (error) {
    await prometheus.close();
    throw error;
  }
  return prometheus;
}

interface QueryAnswer {
  readonly status: string;
  readonly error?: string;
  readonly data: { readonly resultType: string; readonly result: unknown };
}

async function ready(base: string, child: ChildProcess, complaints: () => string): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt++) {
    if (child.exitCode !== null) throw new Error(`prometheus ended: ${complaints()}`);
    const answer = await fetch(`${base}/-/ready`).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(100);
  }
  throw new Error(`prometheus is not ready after 30 s: ${complaints()}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
  await ended;
  clearTimeout(timer);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** Queries of Istio's dashboards and Kiali (ambient contract 21). Container metrics come from the kubelet. */
export const istioQueries: readonly string[] = [
  'sum by (tag) (istio_build{component="ztunnel"})',
  'sum by (pod) (rate(istio_tcp_connections_opened_total{pod=~"ztunnel-.*"}[10s]))',
  '-sum by (pod) (rate(istio_tcp_connections_closed_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_tcp_sent_bytes_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_tcp_received_bytes_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_dns_requests_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (pod) (rate(istio_xds_connection_terminations_total{pod=~"ztunnel-.*"}[10s]))',
  'sum by (url) (irate(istio_xds_message_total{pod=~"ztunnel-.*"}[10s]))',
  'workload_manager_active_proxy_count{pod=~"ztunnel-.*"}',
  'workload_manager_pending_proxy_count{pod=~"ztunnel-.*"}',
  'sum(istio_tcp_connections_opened_total{app="ztunnel"}) - sum(istio_tcp_connections_closed_total{app="ztunnel"})',
  'process_open_fds{app="ztunnel"}',
  'sum by (reporter) (istio_tcp_sockets_open{app="ztunnel"})',
  'sum by (destination_workload, destination_service) (rate(istio_tcp_sent_bytes_total{reporter=~"source|waypoint"}[10s]))',
  'sum by (source_workload_namespace, source_workload, source_canonical_service, source_canonical_revision, ' +
    'destination_service_namespace, destination_service_name, destination_workload, destination_app, destination_version, ' +
    'response_flags, connection_security_policy) (rate(istio_tcp_received_bytes_total{app="ztunnel",reporter="source"}[10s]))',
];
