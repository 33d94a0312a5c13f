import type { Overview } from '@kmesh/api';
import type { CanaryState } from './canary.ts';
import type { Tally } from './traffic.ts';

/** State that the live view shows. */
export interface ViewState {
  readonly elapsedMilliseconds: number;
  readonly tally: Tally;
  readonly overview: Overview | undefined;
  readonly bytes: { readonly sent: number; readonly received: number };
  /** Progress of the canary; `undefined` if there is none. */
  readonly canary: CanaryState | undefined;
  /** Identities with a certificate. */
  readonly certificates: number;
  readonly hook: { readonly nanoseconds: number; readonly runs: number };
  /** The previous state, for rates. */
  readonly before:
    | {
        readonly elapsedMilliseconds: number;
        readonly connections: number;
        readonly bytes: { readonly sent: number; readonly received: number };
        readonly paths: ReturnType<typeof pathTotals>;
      }
    | undefined;
  /** Why the local mesh file is not applied. */
  readonly problem: string | undefined;
}

/** Maximum lines of the view; fits a small terminal. */
export const viewRows = 17;

/** Returns the live view as at most {@link viewRows} lines of at most `width` columns; in colour if `colour` is set. */
export function renderView(state: ViewState, width: number, colour: boolean): string {
  const paint = (code: number, text: string): string => {
    const cut = text.length > width ? `${text.slice(0, width - 1)}…` : text;
    return colour && code !== 0 ? `\x1b[${code}m${cut}\x1b[0m` : cut;
  };
  const { tally, hook, bytes, overview, before } = state;
  const seconds = before === undefined ? 0 : (state.elapsedMilliseconds - before.elapsedMilliseconds) / 1000;
  const rate = (now: number, then: number | undefined): number =>
    seconds > 0 && then !== undefined ? Math.max(0, now - then) / seconds : 0;
  const connectionRate = Math.round(rate(tally.connections, before?.connections));
  const head =
    `kmesh demo  ${(state.elapsedMilliseconds / 1000).toFixed(0)} s  ${tally.connections} connections` +
    `  ${connectionRate}/s  ${tally.failed} failed`;
  const lines = [paint(tally.failed === 0 ? 32 : 31, head)];
  for (const [name, answers] of tally.byEndpoint) lines.push(paint(0, targetLine(name, answers)));
  if (state.canary !== undefined) lines.push(paint(0, canaryLine(state.canary)));
  const sent = humanBytes(rate(bytes.sent, before?.bytes.sent));
  const received = humanBytes(rate(bytes.received, before?.bytes.received));
  lines.push(
    paint(
      0,
      `bytes     sent ${humanBytes(bytes.sent)} (${sent}/s), received ${humanBytes(bytes.received)} (${received}/s)`,
    ),
  );
  const paths = pathTotals(overview);
  const pathText = (name: keyof typeof paths): string =>
    `${name} ${paths[name]} (${Math.round(rate(paths[name], before?.paths[name]))}/s)`;
  lines.push(paint(0, `path      ${pathText('kernel')}, ${pathText('tunnel')}, ${pathText('outside')}`));
  const mean =
    hook.runs === 0
      ? 'not run yet'
      : `${Math.round(hook.nanoseconds / hook.runs)} ns each, ${hook.runs} runs`;
  lines.push(paint(0, `connect   ${mean}`));
  if (overview !== undefined) {
    lines.push(
      paint(
        0,
        `mesh      ${overview.workloadCount} workloads, ${overview.serviceCount} services, ${counted(overview.policyCount, 'policy', 'policies')}, ${counted(state.certificates, 'certificate', 'certificates')}`,
      ),
    );
  }
  const footer = [
    paint(0, 'admin http://localhost:15000  ready :15021/healthz/ready  metrics :15020/metrics'),
    paint(0, 'Ctrl-C stops and removes everything.'),
  ];
  const problems = [
    ...(state.problem === undefined ? [] : [state.problem.replaceAll('\n', ' ')]),
    ...[...tally.failures].map(([failure, count]) => `failure   ${failure} (${count})`),
  ];
  const room = viewRows - lines.length - footer.length;
  const shown = problems.length <= room ? problems : problems.slice(0, room - 1);
  for (const problem of shown) lines.push(paint(31, problem));
  if (shown.length < problems.length) lines.push(paint(31, `and ${problems.length - shown.length} more`));
  return [...lines, ...footer].join('\n');
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

function canaryLine({ name, wanted, connections, answered }: CanaryState): string {
  const got = connections === 0 ? 'nothing yet' : `${((answered / connections) * 100).toFixed(1)} %`;
  return `canary    ${name}: the route gives ${wanted} % to the new version, it got ${got} of ${connections} since`;
}

function targetLine(name: string, answers: ReadonlyMap<string, number>): string {
  const total = [...answers.values()].reduce((sum, count) => sum + count, 0);
  const shares = [...answers].map(
    ([endpoint, count]) => `${endpoint} ${(total === 0 ? 0 : (count / total) * 100).toFixed(1)} %`,
  );
  return `${name.padEnd(13)} ${String(total).padStart(8)}  ${shares.join('  ')}`;
}

/** Returns connections by path, from the counters of the connect hook. */
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
