import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Report, repeated } from '../harness/report.ts';
import { renderPages } from '../page/page.ts';
import { staleFiles } from '../page/write.ts';

const result: Report = {
  suite: 'onenode',
  environment: { kernel: '6.18', commit: 'abc', rounds: 3 },
  figures: [
    {
      name: 'new connections',
      contestant: 'no mesh',
      value: 20_000,
      unit: 'connections/s',
      spread: [19_000, 21_000],
    },
    {
      name: 'new connections',
      contestant: 'kmesh',
      value: 12_000,
      unit: 'connections/s',
      spread: [11_000, 12_500],
    },
  ],
  ratios: [
    { name: 'gained', value: 4.5, spread: [4.1, 5], bound: 4, kind: 'atLeast', ok: true },
    { name: 'lost', value: 0.6, bound: 0.85, kind: 'atLeast', ok: false },
    { name: 'unknown', value: null, bound: 1, kind: 'atMost', ok: false, because: 'no mesh drifted' },
  ],
};

const growth: Report = {
  suite: 'hook',
  environment: {},
  figures: [100, 10_000].flatMap((services) =>
    (
      [
        ['hit', 300],
        ['linear', services * 2],
        ['worse', services * services],
      ] as const
    ).map(([contestant, value]) => ({
      ...{ name: `connect at ${services} services`, unit: 'ns', spread: [value, value] as const },
      ...{ contestant, value },
    })),
  ),
  ratios: [],
};

test('the page has each figure with the command that measures it, wins and losses alike', () => {
  const pages = renderPages([result]);
  const page = pages.get('docs/performance.md') ?? '';
  assert.ok(page.includes('`npm run bench -- onenode --store`'));
  assert.ok(page.includes('kernel: 6.18, commit: abc, rounds: 3'));
  assert.ok(page.includes('| gained | 4.5 (4.1 … 5) | ≥ 4 | yes |'));
  assert.ok(page.includes('| lost | 0.6 | ≥ 0.85 | **no** |'));
  assert.ok(page.includes('| onenode | unknown | none: no mesh drifted | ≤ 1 |'));
  for (const [, chart = ''] of page.matchAll(/\]\((performance\/[^)]+)\)/g))
    assert.ok(pages.has(`docs/${chart}`), `${chart} is shown and not drawn`);
  assert.equal([...pages.keys()].filter((path) => path.endsWith('.svg')).length, 1);
});

test('the summary has only ratios that two runs of one machine agree on', () => {
  const ratio = (name: string, value: number) =>
    ({ name, value, bound: 4, kind: 'atLeast', ok: value >= 4 }) as const;
  const environment = { kernel: '6.18', cpu: 'one', cores: 2, commit: 'abc', date: 'today' };
  const [same, other, single] = ['HTTP', 'TCP proxy'].flatMap((variant) => [
    `requests, 64 connections: kmesh / Envoy pair, ${variant}`,
    `new connections: kmesh / Envoy pair, ${variant}`,
  ]) as [string, string, string];
  const first: Report = { ...result, environment, ratios: [ratio(same, 8), ratio(other, 5)] };
  const second: Report = { ...first, ratios: [ratio(same, 8.5), ratio(other, 4), ratio(single, 4)] };
  const page = renderPages([{ ...second, ...repeated(second, first) }]).get('docs/performance.md') ?? '';
  const [, summary = ''] = /## Summary\n([\s\S]*?)\n## /.exec(page) ?? [];
  assert.ok(summary.includes(`| onenode | ${same} | 8.5 | 8 | 6 % | ≥ 4 | yes |`));
  assert.ok(summary.includes(`${other} (4, 5)`) && !summary.includes(`| ${other} |`));
  assert.ok(summary.includes(`${single} (not in two runs)`));
  const elsewhere = { ...first, environment: { ...environment, kernel: '6.12' } };
  assert.deepEqual(repeated(second, elsewhere), {});
  assert.deepEqual(repeated(second, undefined), {});
});

test('the length of a bar is proportional to its value, and names are escaped', () => {
  const named = {
    ...result,
    figures: result.figures.map((one) => ({ ...one, contestant: `<${one.contestant}>` })),
  };
  const [chart = ''] = [...renderPages([named])]
    .filter(([path]) => path.endsWith('.svg'))
    .map(([, text]) => text);
  const widths = [...chart.matchAll(/<rect x="190"[^>]* width="([\d.]+)"/g)].map(([, width]) =>
    Number(width),
  );
  assert.equal(widths.length, 2);
  assert.ok(Math.abs((widths[1] ?? 0) / (widths[0] ?? 1) - 0.6) < 0.01);
  assert.ok(chart.includes('&lt;kmesh&gt;') && !chart.includes('<kmesh>'));
});

test('growth is called flat, in proportion, or more', () => {
  const page = renderPages([growth]).get('docs/performance.md') ?? '';
  assert.ok(page.includes('* hit: flat, × 1 for × 100 services'));
  assert.ok(page.includes('* linear: in proportion, × 100 for × 100 services'));
  assert.ok(page.includes('* worse: **more than in proportion**, × 10,000 for × 100 services'));
});

test('the same results give the same bytes', () => {
  assert.deepEqual(renderPages([result, growth]), renderPages([growth, result]));
});

test('the committed page and charts are generated from the stored results', () => {
  assert.deepEqual(staleFiles(), []);
});
