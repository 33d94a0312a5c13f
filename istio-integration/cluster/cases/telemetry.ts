import assert from 'node:assert/strict';
import type { Manifest } from '../api/api.ts';
import { prometheusManifests, ztunnelQueries } from '../mesh/prometheus.ts';
import { waitUntil } from '../wait.ts';
import type { Case } from './case.ts';
import { restart } from './lifecycle.ts';
import { answered, call, having, inside, onlyPod, type Scene } from './scene.ts';

const prometheus = { name: 'prometheus', namespace: 'istio-system' } as const;

const istiod: Manifest = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'istiod', namespace: 'istio-system' } as Manifest['metadata'],
};

/** Returns the current result of a query. */
async function ask(
  scene: Scene,
  query: string,
): Promise<readonly { readonly value: readonly [number, string] }[]> {
  const answer = await scene.api.service(prometheus, 9090, `api/v1/query?query=${encodeURIComponent(query)}`);
  const { status, data } = JSON.parse(answer) as {
    status: string;
    data: { result: { value: [number, string] }[] };
  };
  assert.equal(status, 'success', answer);
  return data.result;
}

/** Queries until the expected number of series has a value. Returns the values. */
async function values(scene: Scene, query: string, wanted: number): Promise<number[]> {
  let last: number[] = [];
  return await waitUntil(
    `${wanted} series of ${query}`,
    60_000,
    async () => {
      last = (await ask(scene, query)).map(({ value }) => Number(value[1])).filter(Number.isFinite);
      return last.length >= wanted ? last : undefined;
    },
    { everyMs: 500, state: () => JSON.stringify(last) },
  );
}

/** Calls by name from each node to the other, and within one. */
async function traffic(scene: Scene): Promise<void> {
  for (const [from, to] of [
    ['client', 'near'],
    ['client', 'far'],
    ['far', 'near'],
  ] as const)
    answered(await call(scene, await onlyPod(scene, from), `http://${to}.${inside}:80`, { count: 20 }));
}

/** Metrics in a Prometheus of the cluster. */
export const telemetryCases: readonly Case[] = [
  {
    name: "Istio's sample Prometheus discovers the proxies by their annotations, and each query of Istio's dashboard has values",
    async run(scene) {
      const manifests = prometheusManifests();
      const queries = ztunnelQueries();
      assert.ok(queries.length >= 15, queries.join('\n'));
      await having(scene, manifests, async () => {
        await scene.api.rolledOut({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: prometheus });
        // A proxy counts the ends of its connections to istiod once there has been one.
        await restart(scene, istiod);
        await scene.api.rolledOut(istiod);
        await traffic(scene);
        const counted = 'sum(istio_tcp_connections_opened_total{app="ztunnel",reporter="source"})';
        const [before = 0] = await values(scene, counted, 1);
        await traffic(scene);
        await waitUntil(
          'sixty connections more',
          60_000,
          async () => ((await values(scene, counted, 1))[0] ?? 0) >= before + 60 || undefined,
          { everyMs: 500 },
        );
        // The graph of builds has one line for both proxies.
        for (const query of queries)
          await values(
            scene,
            query,
            query.includes('by (tag)') ? 1 : query.includes('by (url)') ? 2 : scene.nodes.length,
          );
      });
      return `${queries.length} queries`;
    },
  },
];
