import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { istioQueries, type Prometheus, startPrometheus } from '@kmesh/lab/testing/probe/prometheus.ts';
import { type MetricsSource, startMetricsSource } from '@kmesh/lab/testing/probe/traffic.ts';
import { parse } from 'yaml';

const addons = new URL('../../istio-integration/addons/', import.meta.url);
const rules = fileURLToPath(new URL('prometheus/recording-rules.yaml', addons));

interface Panel {
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly fieldConfig?: {
    readonly defaults: { readonly unit?: string; readonly links?: readonly { readonly url: string }[] };
  };
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly definition?: string }[];
  };
}

const dashboards = readdirSync(new URL('grafana/', addons))
  .filter((file) => file.endsWith('.json'))
  .map((file) => JSON.parse(readFileSync(new URL(`grafana/${file}`, addons), 'utf8')) as Dashboard);

let source: MetricsSource;
let prometheus: Prometheus;

before(async () => {
  source = await startMetricsSource();
  prometheus = await startPrometheus({
    target: `127.0.0.1:${source.server.port}`,
    labels: { app: 'ztunnel', namespace: 'istio-system', pod: 'ztunnel-x7k2p' },
    ruleFiles: [rules],
    scrapeMilliseconds: 250,
  });
  // A rate needs two scrapes, a rule over a rate one evaluation more.
  let scrapes = 0;
  for (let attempt = 0; attempt < 600; attempt++) {
    scrapes = (await prometheus.query('count_over_time(istio_build[2m])'))[0]?.value ?? 0;
    if (scrapes >= 6) return;
    await sleep(100);
  }
  assert.fail(`Prometheus scraped ${scrapes} times: ${(await prometheus.targetErrors()).join('; ')}`);
});

after(async () => {
  await prometheus?.close();
  await source?.close();
});

/** Expands a query as Grafana does, with every variable set to All. */
/** Fills in the variables of a query, and removes the default of 0, which would hide a missing metric. */
function filled(expression: string): string {
  return expression
    .replace(/^\((.*)\) or on\(\) vector\(0\)$/, '$1')
    .replaceAll('="$reporter"', '="source"')
    .replaceAll('$__rate_interval', '10s')
    .replaceAll(/\$\{?[a-z]+\}?/g, '.*');
}

async function mustHaveData(expression: string): Promise<void> {
  // After a scrape that timed out on a busy machine there is no data until the next one.
  let samples = await prometheus.query(expression);
  for (let tries = 0; samples.length === 0 && tries < 100; tries++) {
    await sleep(100);
    samples = await prometheus.query(expression);
  }
  assert.ok(samples.length > 0, `no data: ${expression}`);
  assert.ok(
    samples.some(({ value }) => Number.isFinite(value)),
    `no number: ${expression}`,
  );
}

test('the dashboards are up to date with their source', () => {
  execFileSync(process.execPath, [
    fileURLToPath(new URL('../../scripts/generate-dashboards.ts', import.meta.url)),
    '--check',
  ]);
  assert.deepEqual(dashboards.map(({ uid }) => uid).sort(), [
    'kmesh-control-plane',
    'kmesh-kernel-path',
    'kmesh-node-overview',
    'kmesh-service',
    'kmesh-workload',
  ]);
});

for (const dashboard of dashboards) {
  const panels = dashboard.panels.filter(({ type }) => type !== 'row');

  test(`every panel of ${dashboard.title} has a unit, a description, queries, and rates over $__rate_interval`, () => {
    assert.ok(panels.length >= 7);
    assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length);
    for (const panel of panels) {
      assert.ok(panel.fieldConfig?.defaults.unit, panel.title);
      assert.ok((panel.description ?? '').length > 20, panel.title);
      assert.ok((panel.targets ?? []).length > 0, panel.title);
      for (const { expr } of panel.targets ?? []) assert.doesNotMatch(expr, /\[\d+[smh]\]/, panel.title);
    }
    assert.equal(dashboard.templating.list[0]?.type, 'datasource');
  });

  test(`${dashboard.title}: queries without samples yield 0, legends name pods, links point to a dashboard with that variable`, () => {
    for (const panel of panels) {
      for (const { expr, legendFormat } of panel.targets ?? []) {
        assert.ok(/ or on\(\) vector\(0\)$|^histogram_quantile/.test(expr), `${panel.title}: ${expr}`);
        if (legendFormat.includes('{{instance}}')) assert.match(legendFormat, /^\{\{pod\}\} /, panel.title);
        // Both proxies report a connection between two pods of the mesh.
        const isShare = / \/ |^histogram_quantile/.test(expr);
        if (!isShare && !/\bby \([^)]*\breporter\b/.test(expr))
          for (const [selector] of expr.matchAll(/\b(istio|kmesh)_tcp_\w+\{[^}]*\}/g))
            assert.match(selector, /reporter="/, `${panel.title}: one side counts`);
      }
      for (const { url } of panel.fieldConfig?.defaults.links ?? []) {
        const [, uid, variable] = /^\/d\/([\w-]+)\?var-(\w+)=\$\{__field\.labels\.\w+\}/.exec(url) ?? [];
        const to = dashboards.find((other) => other.uid === uid);
        assert.ok(
          to?.templating.list.some(({ name }) => name === variable),
          url,
        );
      }
    }
  });

  test(`every query and variable of ${dashboard.title} parses and returns data`, async () => {
    for (const panel of panels) {
      for (const { expr } of panel.targets ?? []) await mustHaveData(filled(expr));
    }
    for (const { definition } of dashboard.templating.list) {
      if (definition === undefined) continue;
      const [, metric, label] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? [];
      await mustHaveData(`count by (${label}) (${filled(metric ?? '')})`);
    }
  });
}

test('every recording rule passes promtool and has data', async () => {
  execFileSync('promtool', ['check', 'rules', rules]);
  const { groups } = parse(readFileSync(rules, 'utf8')) as { groups: { rules: { record: string }[] }[] };
  const names = groups.flatMap((group) => group.rules.map(({ record }) => record));
  assert.ok(names.length >= 7);
  for (const name of names) await mustHaveData(name);
});

for (const expression of istioQueries) {
  test(`OBS-23: the queries of Istio’s dashboards and Kiali return data: ${expression.slice(0, 90)}`, () =>
    mustHaveData(expression));
}

test('Prometheus scrapes without an error', async () => {
  assert.deepEqual(await prometheus.targetErrors(), []);
});
