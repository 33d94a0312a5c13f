import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  connectFrom,
  createLab,
  keyOf,
  type Lab,
  type LabMesh,
  type NodeProxy,
  type Pod,
  serviceOf,
  startMesh,
} from '@kmesh/lab';
import { ended } from '@kmesh/lab/testing/probe/plans.ts';
import { istioQueries, type Prometheus, startPrometheus } from '@kmesh/lab/testing/probe/prometheus.ts';
import { enableProgramStatistics } from '@kmesh/linux';

const addons = new URL('../../istio-integration/addons/', import.meta.url);

let lab: Lab;
let mesh: LabMesh;
let client: Pod;
let statistics: Disposable | undefined;
const hosts = new Map<string, { v4: string; v6: string }>();

before(async () => {
  statistics = enableProgramStatistics();
  lab = await createLab();
  await lab.node();
  await lab.node();
  mesh = await startMesh(lab, {
    kernelPath: true,
    environment: { CONNECTION_TERMINATION_DEADLINE: '1s' },
  });
  ({ pod: client } = await mesh.pod({ name: 'client' }));
  for (const [name, node] of [
    ['near', 0],
    ['far', 1],
  ] as const) {
    const { addresses } = await lab.outsideHost(`vip-${name}`);
    const service = serviceOf({ name, vips: addresses, ports: { 80: 8080, 81: 8081, 82: 8082 } });
    await mesh.apply(service);
    const { pod } = await mesh.pod({ name, workload: { services: { [keyOf(service)]: {} } } }, node);
    await pod.listen({ port: 8080 }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => socket.write(data));
      socket.on('end', () => socket.end());
    });
    await pod.serve({ port: 8082 });
    hosts.set(name, addresses);
  }
});
after(async () => {
  await mesh?.close();
  await lab?.close();
  statistics?.[Symbol.dispose]();
});

const hostOf = (name: string) => hosts.get(name)?.v4 ?? '';
const proxyOf = (node = 0): NodeProxy => mesh.node(node).proxy;

/** One connection that sends a number of bytes and receives them again. */
async function echo(name: string, bytes: number): Promise<void> {
  const socket = await client.connect({ host: hostOf(name), port: 80 });
  socket.write(Buffer.alloc(bytes, 'x'));
  let count = 0;
  for await (const data of socket.iterator({ destroyOnReturn: false })) {
    count += (data as Buffer).length;
    if (count === bytes) break;
  }
  const closed = once(socket, 'close');
  socket.resume();
  socket.end();
  await closed;
}

/** A port of this process that forwards to a proxy's metrics. */
async function exposeMetrics(proxy: NodeProxy): Promise<{ target: string; close(): void }> {
  const server = createServer((outside) => {
    outside.on('error', () => undefined);
    connectFrom(proxy.host, { host: '127.0.0.1', port: 15020 }).then(
      (inside) => {
        inside.on('error', () => outside.destroy());
        outside.on('close', () => inside.destroy());
        inside.pipe(outside).pipe(inside);
      },
      () => outside.destroy(),
    );
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { target: `127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() };
}

interface Dashboard {
  readonly title: string;
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

/** Families that need a DNS proxy or a revocation list. */
const withoutSource = /istio_dns|istio_on_demand_dns|istio_crl/;

/** Expands a query as Grafana does, with every variable set to All. */
const filled = (expression: string) =>
  expression.replaceAll('$__rate_interval', '10s').replaceAll(/\$\{?[a-z]+\}?/g, '.*');

async function hasData(prometheus: Prometheus, expression: string): Promise<boolean> {
  return (await prometheus.query(expression)).some(({ value }) => Number.isFinite(value));
}

test('OBS-23: Prometheus scrapes a real daemon under traffic, and every panel of Kmesh’s and Istio’s dashboards has data', async () => {
  const exposed = await exposeMetrics(proxyOf());
  const prometheus = await startPrometheus({
    target: exposed.target,
    labels: { app: 'ztunnel', namespace: 'istio-system', pod: 'ztunnel-x7k2p' },
    ruleFiles: [fileURLToPath(new URL('prometheus/recording-rules.yaml', addons))],
    scrapeMilliseconds: 300,
  });
  let busy = true;
  const traffic = (async () => {
    while (busy) {
      for (const name of ['near', 'far']) await echo(name, 500);
      // Nothing listens there.
      await client.connect({ host: hostOf('near'), port: 81 }).then(
        (socket) => socket.destroy(),
        () => undefined,
      );
      await sleep(50);
    }
  })();
  try {
    // Provides samples for the families of the control plane's connection.
    mesh.istiod.faults.dropConnections();
    const panels = readdirSync(new URL('grafana/', addons))
      .map((file) => JSON.parse(readFileSync(new URL(`grafana/${file}`, addons), 'utf8')) as Dashboard)
      .flatMap(({ title, panels }) =>
        panels.flatMap((panel) =>
          (panel.targets ?? []).map(({ expr }) => ({ name: `${title}: ${panel.title}`, expr: filled(expr) })),
        ),
      );
    const wanted = [...panels, ...istioQueries.map((expr) => ({ name: 'Istio', expr }))].filter(
      ({ expr }) => !withoutSource.test(expr),
    );
    assert.ok(wanted.length > 50);
    let missing = wanted;
    for (let attempt = 0; attempt < 100 && missing.length > 0; attempt++) {
      await sleep(200);
      const answers = await Promise.all(missing.map(({ expr }) => hasData(prometheus, expr)));
      missing = missing.filter((_, index) => !answers[index]);
    }
    assert.deepEqual(missing, []);
    assert.deepEqual(await prometheus.targetErrors(), []);
  } finally {
    busy = false;
    await traffic;
    await prometheus.close();
    exposed.close();
  }
});

test('OBS-19: while the daemon’s log is not read traffic continues, and no line is lost', async () => {
  const watch = await proxyOf().watch();
  const connections = 6_000;
  const dialling = client.dial({ to: `${hostOf('near')}:82`, connections, concurrency: 16 });
  // This thread reads the log: the pipe fills while it sleeps.
  await sleep(20);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
  const report = await dialling;
  assert.deepEqual([report.connections, report.failed], [connections, 0]);
  await watch.access('outbound', connections);
  await watch.access('inbound', connections);
  assert.equal(await watch.growth('kmesh_log_lines_dropped_total'), 0);
});

test('OBS-17: a client of another trust domain is an early deny of the daemon: a warning with four fields, and no metric', async () => {
  const { pod: stranger } = await mesh.pod({
    name: 'stranger',
    workload: { trustDomain: 'elsewhere.example' },
  });
  const watch = await proxyOf(1).watch();
  const attempt = stranger.connect({ host: hostOf('far'), port: 80 });
  await ended(attempt);
  const line = await watch.line('inbound');
  assert.deepEqual([line.level, line.message], ['warn', 'connection failed']);
  assert.deepEqual(Object.keys(line.fields), ['src.addr', 'dst.addr', 'direction', 'error']);
  for (const name of ['opened', 'closed', 'failed']) {
    assert.equal(
      await watch.growth(`istio_tcp_connections_${name}_total`, { source_workload: 'stranger' }),
      0,
    );
  }
});

test('OBS-18: connections that a drain closes are errors in the log of the tunnel path', async () => {
  const watch = await proxyOf(1).watch();
  const socket = await client.connect({ host: hostOf('far'), port: 80 });
  socket.on('error', () => undefined);
  socket.write('hello');
  await once(socket, 'data');
  await proxyOf(1).stop('SIGTERM');
  const lines = watch.lines.filter(({ fields }) => fields['direction'] === 'inbound');
  assert.equal(lines.length, 1);
  const [line] = lines;
  assert.deepEqual([line?.level, line?.message], ['error', 'connection complete']);
  assert.deepEqual([line?.fields['bytes_sent'], line?.fields['bytes_recv']], ['5', '5']);
  assert.match(line?.fields['error'] ?? '', /drain|stops|closed/);
  socket.destroy();
});
