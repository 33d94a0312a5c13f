import type { Workload } from '@kmesh/api';
import { workloadRecord } from '@kmesh/api/testing';
import {
  type ConnectionStart,
  type ControlMetrics,
  createConnectionObserver,
  createControlMetrics,
  createDnsMetrics,
  createRevocationMetrics,
  MetricRecorder,
  type ScrapeServer,
  startScrapeServer,
} from '@kmesh/probe';

export interface MetricsSource {
  readonly server: ScrapeServer;
  close(): Promise<void>;
}

const client = workload('client', '10.0.0.1');
const server = workload('server', '10.0.0.2');
const service = { name: 'echo', namespace: 'default', hostname: 'echo.default.svc.cluster.local' };

const canary = { service, port: 80 };

/** Starts a scrape server with series of every family that grow a few times per second. */
export async function startMetricsSource(): Promise<MetricsSource> {
  let beats = 0;
  const control = createControlMetrics('1.27.0', {
    tables: () => [
      { table: 'frontends', entries: 20 + (beats % 5), maximum: 1000, refused: { 'table-full': beats } },
      { table: 'endpoints', entries: 40, maximum: 1000 },
    ],
    hooks: () => [
      { program: 'connect4', runs: beats * 100, nanoseconds: beats * 40_000 },
      { program: 'sockops', runs: beats * 300, nanoseconds: beats * 90_000 },
    ],
    decisions: () => [
      { path: 'kernel', reason: 'balanced', connections: beats * 3 },
      { path: 'tunnel', reason: 'endpoint', connections: beats },
    ],
    routes: () => [
      {
        route: 'default/canary',
        shares: ['echo-v1', 'echo-v2'].map((backend) => ({ ...canary, backend, share: 0.5 })),
        problems: ['default/echo:81: http.rewrite: needs a waypoint'],
      },
    ],
    eventsLost: () => beats,
    connectionsReconciled: () => beats,
  });
  const scrape = await startScrapeServer({
    host: '127.0.0.1',
    port: 0,
    collect: control.collect,
    droppedLines: new BigInt64Array(new SharedArrayBuffer(8)),
  });
  const recorder = new MetricRecorder(scrape.recorderChannel());
  const beat = makeBeat(recorder, control);
  const timer = setInterval(() => {
    beats++;
    beat();
  }, 50);
  beat();
  return {
    server: scrape,
    async close() {
      clearInterval(timer);
      await scrape.close();
    },
  };
}

function makeBeat(recorder: MetricRecorder, control: ControlMetrics): () => void {
  const observer = createConnectionObserver({ recorder });
  const dns = createDnsMetrics(recorder);
  const revocations = createRevocationMetrics(recorder);
  const kernel: ConnectionStart = {
    reporter: 'source',
    path: 'kernel',
    pathReason: 'balanced',
    sourceAddress: '10.0.0.1:41000',
    destinationAddress: '10.0.0.2:8080',
    source: client,
    destination: server,
    destinationService: service,
    securityPolicy: 'unknown',
  };
  const tunnel: ConnectionStart = {
    ...kernel,
    path: 'tunnel',
    pathReason: 'hbone',
    sourceIdentity: client,
    securityPolicy: 'mutual_tls',
  };
  const transport = {
    retransmissions: 1,
    smoothedRoundTripMicroseconds: 70,
    minimalRoundTripMicroseconds: 40,
  };
  const question = { queryType: 'A', protocol: 'udp', source: client };
  const addresses = 'type.googleapis.com/istio.workload.Address';
  return () => {
    for (const start of [kernel, tunnel]) {
      for (const reporter of ['source', 'destination'] as const) {
        observer
          .opened({ ...start, reporter, pathReason: reporter === 'source' ? start.pathReason : undefined })
          .close({ flag: '-', bytesFromClient: 1000, bytesFromServer: 5000, transport });
      }
    }
    observer.opened(tunnel).close({ flag: 'CONNECT', error: 'refused' });
    observer.opened(kernel).progress(10, 10);
    const routed = { ...canary, route: 'default/canary', backend: 'echo-v1' };
    observer.opened({ ...kernel, routed }).close({ flag: '-' });
    const { sourceAddress, destinationAddress } = kernel;
    const deny = { sourceAddress, destinationAddress, reporter: 'source', error: 'no endpoint' } as const;
    observer.earlyDeny({ ...deny, routed: { ...routed, backend: 'echo-v2' } });
    observer.socketsOpen('source', 1);
    observer.socketsOpen('destination', 1);
    dns.request(question);
    dns.upstream(question, 0.004, false);
    dns.onDemand(client, 'example.com');
    revocations.rejected('destination');
    control.xdsMessage(addresses, 2000);
    control.xdsTerminated('Reconnect');
    control.shareExceeded('shop', 'client-1');
    control.linesSuppressed('shop', 'client-1', 1);
    control.seriesOverflowed('shop', 'client-1');
    control.proxies(2, 0);
    control.proxyStarted();
    control.proxyStopped();
  };
}

/** Returns a complete workload in namespace `default`. */
export function workload(name: string, ip: string): Workload {
  return workloadRecord({
    uid: `Kubernetes//Pod/default/${name}-1`,
    name: `${name}-1`,
    addresses: [ip],
    protocol: 'HBONE',
    serviceAccount: name,
    node: 'node-1',
    canonicalName: name,
    canonicalRevision: 'v1',
    workloadType: 'deployment',
    workloadName: name,
    locality: { region: 'eu', zone: 'eu-a', subzone: '' },
  });
}
