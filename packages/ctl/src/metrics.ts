import { KmeshError } from '@kmesh/api';
import { type Column, type OutputFormat, renderObject, renderTable } from './output.ts';

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
 * @throws KmeshError `KMESH_USAGE` if the filter is no regular expression
 */
export function metrics(text: string, filter: string | undefined, format: OutputFormat): string {
  const wanted = filterOf(filter);
  const shown = parseMetrics(text).filter(
    ({ name, labels }) =>
      wanted.test(name) || Object.entries(labels).some(([key, value]) => wanted.test(`${key}=${value}`)),
  );
  if (format === 'json' || format === 'yaml') return renderObject(format, shown);
  if (shown.length === 0) return `No metric matches ${filter ?? 'anything'}.\n`;
  return renderTable(columns, shown);
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
