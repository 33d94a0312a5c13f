/** docs/performance.md and its charts as a pure function of the stored results. */
import type { Figure, Ratio, Report } from '../harness/report.ts';
import { barChart, growthChart, type Series, spelled } from './chart.ts';
import { type Section, sections } from './sections.ts';

/** Text of the files by their path in the repository. */
export type Pages = ReadonlyMap<string, string>;

const PAGE = 'docs/performance.md';
const CHARTS = 'docs/performance';

/** Writes the page and a chart for each figure that a section shows. Results come in any order. */
export function renderPages(reports: readonly Report[]): Pages {
  const pages = new Map<string, string>();
  const parts: string[] = [];
  for (const section of sections) {
    const report = reports.find(({ suite }) => suite === section.suite);
    if (report !== undefined) parts.push(renderSection(section, report, pages));
  }
  const missed = reports.flatMap(({ suite, ratios }) =>
    ratios.filter(({ ok }) => !ok).map((ratio) => ({ suite, ratio })),
  );
  pages.set(PAGE, `${[heading, renderHeadlines(reports), shortfalls(missed), ...parts].join('\n\n')}\n`);
  return pages;
}

/** Two runs of a ratio in the summary differ by less than this share. */
const REPEATABLE = 0.1;

/** The summary: ratios that two runs of one machine agree on, and the names of those that they do not. */
function renderHeadlines(reports: readonly Report[]): string {
  const rows: string[] = [];
  const left: string[] = [];
  for (const { suite, headlines = [] } of sections) {
    const report = reports.find((one) => one.suite === suite);
    if (report === undefined) continue;
    for (const name of headlines) {
      const ratio = report.ratios.find((one) => one.name === name);
      const earlier = report.before?.ratios[name];
      if (ratio === undefined || ratio.value === null || earlier === undefined) {
        left.push(`${suite}, ${name} (not in two runs)`);
        continue;
      }
      const differs = Math.abs(ratio.value / earlier - 1);
      if (differs >= REPEATABLE)
        left.push(`${suite}, ${name} (${spelled(ratio.value)}, ${spelled(earlier)})`);
      else
        rows.push(
          `| ${suite} | ${name} | ${spelled(ratio.value)} | ${spelled(earlier)} | ${Math.round(differs * 100)} % | ${boundText(ratio)} | ${ratio.ok ? 'yes' : '**no**'} |`,
        );
    }
  }
  return [
    '## Summary',
    '',
    'Ratios of two runs on one machine that differ by less than 10 %.',
    '',
    ...[
      '| suite | ratio | value | run before | differs by | bound | holds |',
      '|---|---|---|---|---|---|---|',
    ],
    ...rows,
    ...(left.length === 0
      ? []
      : ['', `Not in the table, because two runs differ by more: ${left.join('; ')}.`]),
  ].join('\n');
}

const heading = `# Performance

<!-- Generated from bench/results by "npm run bench -- report". Do not edit. -->

Every figure is the median of several rounds on one machine, in which all contestants took turns; the line over a bar shows the
lowest and highest round. Ratios are computed in each round. Compare only within a run: figures of different machines or days are not
comparable. [bench/README.md](../bench/README.md) describes the method.`;

function shortfalls(missed: readonly { readonly suite: string; readonly ratio: Ratio }[]): string {
  if (missed.length === 0) return '## Bounds that do not hold\n\nNone.';
  const rows = missed.map(
    ({ suite, ratio }) => `| ${suite} | ${ratio.name} | ${valueText(ratio)} | ${boundText(ratio)} |`,
  );
  return [
    '## Bounds that do not hold',
    '',
    '| suite | ratio | value | bound |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}

function renderSection(section: Section, report: Report, pages: Map<string, string>): string {
  const { suite, title, about, charts, shortfall } = section;
  const lines = [
    `## ${title}`,
    '',
    about,
    '',
    `\`npm run bench -- ${suite} --store\``,
    '',
    settingsOf(report),
  ];
  const notes: string[] = [];
  for (const [at, chart] of charts.entries()) {
    const name = 'bars' in chart ? chart.bars : chart.growth;
    const path = `${CHARTS}/${suite}-${at + 1}.svg`;
    if ('bars' in chart) {
      const figures = report.figures.filter((figure) => figure.name === chart.bars);
      const [first] = figures;
      if (first === undefined) continue;
      const bars = figures.map(({ contestant, value, spread }) => ({
        ...{ label: contestant, value, spread, own: isOwn(contestant) },
      }));
      pages.set(path, barChart(`${name} (${first.unit}, ${chart.better} is better)`, bars));
    } else {
      const series = seriesOf(report.figures, chart);
      if (series.length === 0) continue;
      pages.set(path, growthChart(name, { x: chart.x, unit: chart.unit, series }));
      notes.push(...series.map((one) => growthNote(one, chart.x)));
    }
    lines.push('', `![${name}](${path.replace('docs/', '')})`);
  }
  if (notes.length > 0) lines.push('', ...notes);
  if (shortfall !== undefined) lines.push('', typeof shortfall === 'string' ? shortfall : shortfall(report));
  if (charts.length === 0) lines.push('', ...figureTable(report.figures));
  if (report.ratios.length > 0) lines.push('', ...boundTable(report.ratios));
  return lines.join('\n');
}

/** Where and how the figures were measured. */
function settingsOf({ environment }: Report): string {
  return Object.entries(environment)
    .map(([name, value]) => `${name}: ${value}`)
    .join(', ');
}

function isOwn(contestant: string): boolean {
  return /kmesh|handed|workloads|idle|metrics/.test(contestant);
}

type Growth = Extract<Section['charts'][number], { growth: string }>;

function seriesOf(figures: readonly Figure[], { size, unit, series }: Growth): Series[] {
  const found = new Map<string, [number, number][]>();
  for (const figure of figures) {
    if (figure.unit !== unit || !(figure.value > 0)) continue;
    const place = size.in === 'name' ? figure.name : figure.contestant;
    const label = size.in === 'name' ? figure.contestant : figure.name;
    const x = Number(size.pattern.exec(place)?.[1]);
    if (Number.isNaN(x) || (series !== undefined && !series.includes(label))) continue;
    found.set(label, [...(found.get(label) ?? []), [x, figure.value]]);
  }
  return [...found].map(([label, points]) => ({ label, points: points.toSorted(([a], [b]) => a - b) }));
}

/** Describes the growth of a line from its first point to its last: flat, in proportion, or neither. */
function growthNote({ label, points }: Series, x: string): string {
  const [first = [1, 1], last = [1, 1]] = [points[0], points.at(-1)];
  const [sizes, values] = [last[0] / first[0], last[1] / first[1]];
  const power = sizes === 1 ? 0 : Math.log(values) / Math.log(sizes);
  const shape =
    power < 0.2
      ? 'flat'
      : power < 0.85
        ? 'less than in proportion'
        : power <= 1.15
          ? 'in proportion'
          : '**more than in proportion**';
  return `* ${label}: ${shape}, × ${spelled(Number(values.toPrecision(2)))} for × ${spelled(Number(sizes.toPrecision(2)))} ${x}`;
}

function figureTable(figures: readonly Figure[]): string[] {
  return [
    ...['| figure | | median | spread |', '|---|---|---|---|'],
    ...figures.map(
      ({ name, contestant, value, unit, spread }) =>
        `| ${name} | ${contestant} | ${spelled(value)} ${unit} | ${spelled(spread[0])} … ${spelled(spread[1])} |`,
    ),
  ];
}

function boundTable(ratios: readonly Ratio[]): string[] {
  return [
    ...['| ratio | value | bound | holds |', '|---|---|---|---|'],
    ...ratios.map(
      (ratio) =>
        `| ${ratio.name} | ${valueText(ratio)} | ${boundText(ratio)} | ${ratio.ok ? 'yes' : '**no**'} |`,
    ),
  ];
}

function valueText({ value, spread, because }: Ratio): string {
  if (value === null) return `none: ${because}`;
  return spread === undefined ? spelled(value) : `${spelled(value)} (${spread[0]} … ${spread[1]})`;
}

function boundText({ kind, bound }: Ratio): string {
  return `${kind === 'atMost' ? '≤' : '≥'} ${spelled(bound)}`;
}
