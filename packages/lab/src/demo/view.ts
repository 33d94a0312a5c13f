import type { Overview } from '@kmesh/api';
import type { Tally } from './tally.ts';

/** What the live view shows at one moment. */
export interface ViewState {
  readonly elapsedMilliseconds: number;
  readonly tally: Tally;
  readonly overview: Overview | undefined;
  readonly bytes: { readonly sent: number; readonly received: number };
  readonly hook: { readonly nanoseconds: number; readonly runs: number };
}

const barWidth = 24;

/** The live view as lines of text, at most `width` columns wide; colours only when asked for. */
export function renderView(state: ViewState, width: number, colour: boolean): string {
  const paint = (code: number, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
  const { tally, hook, bytes } = state;
  const seconds = state.elapsedMilliseconds / 1000;
  const lines = [
    `${paint(1, 'kmesh demo')}  ${seconds.toFixed(0)} s  ${tally.connections} connections  ${
      tally.failed === 0 ? paint(32, '0 failed') : paint(31, `${tally.failed} failed`)
    }`,
    '',
  ];
  for (const [name, answers] of tally.byEndpoint) {
    const total = [...answers.values()].reduce((sum, count) => sum + count, 0);
    lines.push(`${paint(1, name)}  ${total}`);
    for (const [endpoint, count] of answers) {
      const share = total === 0 ? 0 : count / total;
      const bar = '█'.repeat(Math.round(share * barWidth)).padEnd(barWidth);
      lines.push(
        `  ${endpoint.padEnd(12)} ${paint(36, bar)} ${String(count).padStart(7)}  ${(share * 100).toFixed(1).padStart(5)} %`,
      );
    }
  }
  lines.push('', `bytes     sent ${humanBytes(bytes.sent)}, received ${humanBytes(bytes.received)}`);
  const paths = pathTotals(state.overview);
  lines.push(`path      kernel ${paths.kernel}, tunnel ${paths.tunnel}, outside ${paths.outside}`);
  const mean =
    hook.runs === 0
      ? 'not run yet'
      : `${Math.round(hook.nanoseconds / hook.runs)} ns each, ${hook.runs} runs`;
  lines.push(`connect   ${mean}`);
  for (const [failure, count] of tally.failures) lines.push(paint(31, `failure   ${failure} (${count})`));
  lines.push(
    '',
    'admin http://localhost:15000  ready http://localhost:15021/healthz/ready  metrics http://localhost:15020/metrics',
  );
  lines.push('Ctrl-C stops and removes everything.');
  return lines.map((line) => (colour ? line : line.slice(0, width))).join('\n');
}

/** Connections by path, from the counters of the connect hook. */
export function pathTotals(overview: Overview | undefined): {
  kernel: number;
  tunnel: number;
  outside: number;
} {
  const totals = { kernel: 0, tunnel: 0, outside: 0 };
  for (const { path, connections } of overview?.paths ?? []) {
    if (path === 'kernel' || path === 'tunnel' || path === 'outside') totals[path] += connections;
  }
  return totals;
}

function humanBytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
