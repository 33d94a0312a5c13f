import type { V1Pod } from '@kubernetes/client-node';
import { waitUntil } from '../wait.ts';
import type { Scene } from './scene.ts';

/** A failed connection. */
export interface LostConnection {
  /** Milliseconds since 1970, by the host's clock. */
  readonly at: number;
  readonly why: string;
}

/** Result of a series of connections. */
export interface Dialled {
  readonly connections: number;
  readonly lost: readonly LostConnection[];
}

/** Connections of one call of the client; with more, a failed call is detected later. */
const BATCH_SECONDS = 2;
/** A whole batch fails if it takes longer: a connection without an answer takes two seconds. */
const BATCH_LIMIT_SECONDS = 12;

/** Opens `perSecond` connections to a URL each second, with one request in each, until stopped. */
export function dialling(
  scene: Scene,
  from: V1Pod,
  url: string,
  perSecond: number,
): { readonly stop: () => Promise<Dialled> } {
  let over = false;
  const count = perSecond * BATCH_SECONDS;
  const dial = async (): Promise<Dialled> => {
    let connections = 0;
    const lost: LostConnection[] = [];
    while (!over) {
      lost.push(...(await lostOfBatch(scene, from, url, { count, perSecond })));
      connections += count;
    }
    return { connections, lost };
  };
  const done = dial();
  return {
    stop: () => {
      over = true;
      return done;
    },
  };
}

/** Opens connections to a URL, with one request in each, all at once or at a rate. Returns the failed ones. */
export async function lostOfBatch(
  { api }: Scene,
  from: V1Pod,
  url: string,
  {
    count,
    perSecond = 0,
    extra = [],
  }: { readonly count: number; readonly perSecond?: number; readonly extra?: readonly string[] },
): Promise<LostConnection[]> {
  const { stdout, stderr } = await api.exec(from, [
    ...['/usr/local/bin/client', '--timeout', `${BATCH_LIMIT_SECONDS}s`, '--count', `${count}`],
    ...['--qps', `${perSecond}`, '--new-connection-per-request', ...extra],
    ...['--log_output_level', 'default:info,forwarder:debug', url],
  ]);
  return lostOf(stdout + stderr, count);
}

/** The failed connections of a batch, from the client's log. */
export function lostOf(log: string, count: number): LostConnection[] {
  const lost = [...log.matchAll(/^(\S+Z)\t\w+\tforwarder\trequest failed: (.*)$/gm)].map(
    ([, time = '', why = '']) => ({ at: Date.parse(time), why }),
  );
  const [, completed] = /only (\d+)\/\d+ requests completed/.exec(log) ?? [];
  const without = completed === undefined ? 0 : count - Number(completed) - lost.length;
  const at = lost.at(-1)?.at ?? 0;
  return [
    ...lost,
    ...Array.from({ length: without }, () => ({ at, why: 'no answer within the time of its batch' })),
  ];
}

/** Failed connections by error text without its variable parts, the most frequent first. */
export function kindsOf(lost: readonly LostConnection[]): string {
  const counts = new Map<string, number>();
  for (const { why } of lost) {
    const kind = why.replace(/^.*": /, '').replace(/\d+\.\d+\.\d+\.\d+:\d+/g, 'ADDRESS');
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([kind, count]) => `${count} × ${kind}`)
    .join('; ');
}

/** Opens connections whose requests are answered late, and waits until the server has them. */
export async function longConnections(
  scene: Scene,
  from: V1Pod,
  to: V1Pod,
  host: string,
  { count, answerSeconds }: { readonly count: number; readonly answerSeconds: number },
): Promise<{
  /** Number of connections that ended before their answer. */
  readonly cut: Promise<number>;
}> {
  const path = `/long?delay=${answerSeconds}s&at=${Date.now()}`;
  const cut = scene.api
    .exec(from, [
      ...['/usr/local/bin/client', '--timeout', `${answerSeconds * 2}s`, '--count', `${count}`],
      ...['--new-connection-per-request', `http://${host}${path}`],
    ])
    .then(({ code, stdout, stderr }) => {
      const text = stdout + stderr;
      return code === 0 ? 0 : Number(/(\d+)\/\d+ requests had errors/.exec(text)?.[1] ?? count);
    });
  await waitUntil(
    `${count} requests at ${to.metadata?.name}`,
    answerSeconds * 500,
    async () => ((await scene.api.log(to)).split(path).length > count ? true : undefined),
    { everyMs: 100 },
  );
  return { cut };
}
