/** Charts as SVG text: the same data always gives the same bytes. */

/** One bar: the median, and the lowest and the highest of the rounds as a line over its end. */
export interface Bar {
  readonly label: string;
  readonly value: number;
  readonly spread: readonly [number, number];
  /** Drawn in the colour of Kmesh. */
  readonly own: boolean;
}

/** One line of a growth chart. */
export interface Series {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const WIDTH = 720;
const INK = '#24292f';
const FAINT = '#d0d7de';
const OWN = '#1a7f5a';
const OTHER = '#8c959f';
const COLOURS = ['#1a7f5a', '#0969da', '#bc4c00', '#8250df', '#57606a', '#bf3989'];

/** Horizontal bars from zero, their values in the unit that the title names. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const [left, right, top, step] = [190, 80, 40, 26];
  const height = top + bars.length * step + 12;
  const most = Math.max(...bars.map(({ value, spread }) => Math.max(value, spread[1])));
  const x = (value: number): number => left + (value / most) * (WIDTH - left - right);
  const rows = bars.map(({ label, value, spread, own }, at) => {
    const y = top + at * step;
    const middle = y + 9;
    return [
      text(left - 8, middle + 4, label, 'end'),
      `<rect x="${left}" y="${y}" width="${round(x(value) - left)}" height="18" fill="${own ? OWN : OTHER}"/>`,
      line(x(spread[0]), middle, x(spread[1]), middle, INK),
      text(Math.max(x(value), x(spread[1])) + 6, middle + 4, spelled(value)),
    ].join('\n');
  });
  return svg(height, title, [line(left, top - 4, left, height - 10, FAINT), ...rows]);
}

/**
 * Lines over logarithmic axes: a constant is horizontal, growth in proportion to the size follows the grid's diagonal.
 */
export function growthChart(
  title: string,
  options: { readonly x: string; readonly unit: string; readonly series: readonly Series[] },
): string {
  const { x: xLabel, unit, series } = options;
  const [left, right, top, bottom, height] = [70, 250, 44, 46, 320];
  const points = series.flatMap((one) => one.points);
  const across = decades(points.map(([value]) => value));
  const up = decades(points.map(([, value]) => value));
  const scale = (value: number, [from, to]: Decades, low: number, high: number): number =>
    low + ((Math.log10(value) - from) / (to - from)) * (high - low);
  const x = (value: number): number => scale(value, across, left, WIDTH - right);
  const y = (value: number): number => scale(value, up, height - bottom, top);
  const grid = [
    ...powers(across).flatMap((power) => [
      line(x(power), top, x(power), height - bottom, FAINT),
      text(x(power), height - bottom + 16, spelled(power), 'middle'),
    ]),
    ...powers(up).flatMap((power) => [
      line(left, y(power), WIDTH - right, y(power), FAINT),
      text(left - 6, y(power) + 4, spelled(power), 'end'),
    ]),
    text((left + WIDTH - right) / 2, height - 10, xLabel, 'middle'),
    text(left - 6, top - 10, unit, 'end'),
  ];
  const lines = series.map(({ label, points: own }, at) => {
    const colour = COLOURS[at % COLOURS.length] ?? INK;
    const path = own.map(([px, py]) => `${round(x(px))},${round(y(py))}`).join(' ');
    const dots = own.map(
      ([px, py]) => `<circle cx="${round(x(px))}" cy="${round(y(py))}" r="3" fill="${colour}"/>`,
    );
    const key = top + 8 + at * 20;
    return [
      `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
      ...dots,
      `<rect x="${WIDTH - right + 14}" y="${key - 9}" width="12" height="12" fill="${colour}"/>`,
      text(WIDTH - right + 32, key + 2, label),
    ].join('\n');
  });
  return svg(height, title, [...grid, ...lines]);
}

type Decades = readonly [from: number, to: number];

/** Whole decades that hold all values; at least one. */
function decades(values: readonly number[]): Decades {
  const from = Math.floor(Math.log10(Math.min(...values)));
  const to = Math.ceil(Math.log10(Math.max(...values)));
  return [from, Math.max(to, from + 1)];
}

function powers([from, to]: Decades): number[] {
  return Array.from({ length: to - from + 1 }, (_, at) => Number(`1e${from + at}`));
}

/** `12,300`, `0.042`. */
export function spelled(value: number): string {
  return value >= 1_000
    ? Math.round(value)
        .toString()
        .replaceAll(/\B(?=(\d{3})+$)/g, ',')
    : `${value}`;
}

function svg(height: number, title: string, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" fill="${INK}">
<title>${escaped(title)}</title>
<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
<text x="12" y="22" font-size="14" font-weight="bold">${escaped(title)}</text>
${parts.join('\n')}
</svg>
`;
}

function text(x: number, y: number, words: string, anchor: 'start' | 'middle' | 'end' = 'start'): string {
  const where = anchor === 'start' ? '' : ` text-anchor="${anchor}"`;
  return `<text x="${round(x)}" y="${round(y)}"${where}>${escaped(words)}</text>`;
}

function line(x1: number, y1: number, x2: number, y2: number, colour: string): string {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" stroke="${colour}"/>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
