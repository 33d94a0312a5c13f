import { KmeshError } from '@kmesh/api';
import { byteText, type Column, type OutputFormat, renderObject, renderTable } from './output.ts';

/** One series of the daemon's metrics. */
interface MetricSeries {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const columns: readonly Column<MetricSeries>[] = [
  { heading: 'metric', cell: (series) => series.name },
  { heading: 'value', cell: (series) => series.value },
  {
    heading: 'labels',
    cell: (series) =>
      Object.entries(series.labels)
        .map(([name, value]) => `${name}=${value}`)
        .join(' '),
  },
];

/** Parses the Prometheus text format; keeps the order. */
export function parseMetrics(text: string): MetricSeries[] {
  const all: MetricSeries[] = [];
  for (const line of text.split('\n')) {
    const match = /^(?<name>[A-Za-z_:][\w:]*)(?:\{(?<labels>.*)\})? (?<value>\S+)/.exec(line);
    if (match?.groups === undefined) continue;
    const { name = '', labels = '', value = '' } = match.groups;
    all.push({ name, labels: parseLabels(labels), value: Number(value.replace('Inf', 'Infinity')) });
  }
  return all;
}

/**
 * Renders `kmeshctl metrics`.
 *
 * @param filter a regular expression, matched against the name and `label=value`
 * @throws KmeshError `KMESH_USAGE` if the filter is not a regular expression
 */
export function metrics(text: string, filter: string | undefined, format: OutputFormat): string {
  const wanted = filterOf(filter);
  const shown = parseMetrics(text).filter(
    ({ name, labels }) =>
      wanted.test(name) || Object.entries(labels).some(([key, value]) => wanted.test(`${key}=${value}`)),
  );
  if (format === 'json' || format === 'yaml') return renderObject(format, shown);
  if (shown.length === 0) return `No metric matches ${filter ?? 'anything'}.\n`;
  return format === 'wide' ? renderTable(columns, shown) : families(shown);
}

/** Label values without information, which most of Istio's labels have. */
const silent: ReadonlySet<string> = new Set(['unknown', 'latest', '']);

/**
 * Renders one block per family: its name and common labels, then one line per series with its value and other labels.
 */
function families(shown: readonly MetricSeries[]): string {
  const byName = new Map<string, MetricSeries[]>();
  for (const series of shown) byName.set(series.name, [...(byName.get(series.name) ?? []), series]);
  let text = '';
  for (const [name, all] of byName) {
    const common = (label: string, value: string): boolean =>
      all.length > 1 && all.every(({ labels }) => labels[label] === value);
    const shownLabels = ({ labels }: MetricSeries): string =>
      Object.entries(labels)
        .filter(([label, value]) => !silent.has(value) && !common(label, value))
        .map(([label, value]) => `${label}=${value}`)
        .join(' ');
    const values = all.map(({ name, value }) => humanValue(name, value));
    const width = Math.max(...values.map(({ length }) => length));
    const shared = Object.entries(all[0]?.labels ?? {}).filter(
      ([label, value]) => !silent.has(value) && common(label, value),
    );
    text += `${[name, ...shared.map(([label, value]) => `${label}=${value}`)].join('   ')}\n`;
    for (const [index, series] of all.entries()) {
      text += `  ${(values[index] ?? '').padStart(width)}   ${shownLabels(series)}`.trimEnd().concat('\n');
    }
  }
  return text;
}

/** Formats bytes and seconds with units, large numbers with grouped digits. */
function humanValue(name: string, value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (/_bytes(_total|_sum)?$/.test(name)) return byteText(value);
  if (/_start_time_seconds$/.test(name)) return new Date(value * 1000).toISOString().slice(0, 19);
  if (/_seconds(_total|_sum)?$/.test(name)) return `${Number(value.toPrecision(4))} s`;
  return Number.isInteger(value) ? value.toLocaleString('en') : String(Number(value.toPrecision(6)));
}

function filterOf(text: string | undefined): RegExp {
  try {
    return new RegExp(text ?? '', 'i');
  } catch (cause) {
    throw new KmeshError(
      'KMESH_USAGE',
      `the filter "${text}" is not a regular expression: ${String(cause)}`,
      {
        cause,
      },
    );
  }
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name = '', value = ''] of text.matchAll(/([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
  }
  return labels;
}
