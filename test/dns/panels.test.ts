import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { endpointText, keyOf, type NodeProxy } from '@kmesh/lab';
import { startPrometheus } from '@kmesh/lab/testing/probe/prometheus.ts';
import { dnsScene, named, until } from './scene.ts';

const dashboard = JSON.parse(
  readFileSync(
    new URL('../../istio-integration/addons/grafana/kmesh-control-plane.json', import.meta.url),
    'utf8',
  ),
) as { readonly panels: readonly { readonly targets?: readonly { readonly expr: string }[] }[] };

test("the dashboards’ five DNS panels have data from the queries of a node's pods", async () => {
  await using scene = await dnsScene();
  const { mesh, client } = scene;
  const { proxy } = mesh.node();
  await using page = await pageOf(proxy);
  const prometheus = await startPrometheus({
    target: page.address,
    labels: { app: 'ztunnel', namespace: 'istio-system', pod: 'ztunnel-x7k2p' },
    ruleFiles: [],
    scrapeMilliseconds: 250,
  });
  try {
    const world = named('ns1/world.example', ['10.96.7.7']);
    await mesh.apply(named('ns1/www.google.com', ['1.1.1.1']), world);
    // A ServiceEntry with a DNS endpoint: its name is resolved for each connection.
    const { workload } = await mesh.pod({ name: 'model', captured: false });
    const endpoint = {
      ...{ ...workload, uid: 'cluster1/networking.istio.io/ServiceEntry/ns1/world/0', name: 'world' },
      ...{ addresses: [], hostname: 'localhost', services: new Map([[keyOf(world), new Map([[80, 9]])]]) },
    };
    await mesh.apply(endpoint);
    const unreachable = (await mesh.pod({ name: 'gone', captured: false })).pod.addresses.v4;
    const queries = dashboard.panels
      .flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
      .filter((expr) => expr.includes('dns'))
      .map((expr) =>
        expr
          .replace(/^\((.*)\) or on\(\) vector\(0\)$/, '$1')
          .replaceAll('$__rate_interval', '10s')
          .replaceAll('$instance', '.*'),
      );
    assert.equal(queries.length, 5);
    let failing = false;
    await until(async () => {
      await scene.dig('www.google.com. A');
      const { status } = await scene.dig('www.bing.com. A');
      // Resolvers answer once and become unreachable afterwards.
      if (status === 'NOERROR' && !failing) scene.useResolvers(unreachable);
      failing ||= status === 'NOERROR';
      await client.dial({ to: endpointText('10.96.7.7', 80), connections: 1 });
      const rates = await Promise.all(queries.map((query) => prometheus.query(query)));
      return rates.every((samples) => samples.some(({ value }) => Number.isFinite(value) && value > 0));
    });
    assert.deepEqual(await prometheus.targetErrors(), []);
  } finally {
    await prometheus.close();
  }
});

/** The metrics of a proxy in another network namespace, at an address that Prometheus reaches. */
async function pageOf(proxy: NodeProxy): Promise<AsyncDisposable & { readonly address: string }> {
  const server = createServer((_, response) => {
    proxy.http(15020, '/stats/prometheus').then(
      ({ body }) => response.setHeader('content-type', 'text/plain; version=0.0.4').end(body),
      () => response.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
