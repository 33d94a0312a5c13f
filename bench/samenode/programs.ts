/** The real programs of the suite, nginx and wrk, each on a processor of its own. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pod } from '@kmesh/lab';

/** Clients run on the first processor, servers on the next: where the scheduler puts them is not what is measured. */
const CLIENT_CPU = '0';
const SERVER_CPU = availableParallelism() > 1 ? '1' : '0';

/** Ports of nginx. A service of short connections has its own. */
export const HTTP_PORT = 9080;
export const SHORT_PORT = 9081;

/** The port of the lab's own server, for bulk. */
export const BULK_PORT = 8081;

/** What wrk says of one run. */
export interface HttpRun {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** @throws Error naming the Debian package that is missing. */
export function requirePrograms(): void {
  for (const [program, name] of [
    ['wrk', 'wrk'],
    ['nginx', 'nginx-light'],
    ['taskset', 'util-linux'],
  ] as const) {
    try {
      execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'pipe' });
    } catch {
      throw new Error(`bench samenode needs ${program}: apt-get install ${name}`);
    }
  }
}

/** Starts nginx with one worker in a pod; it ends with the lab. */
export function startNginx(pod: Pod, stack: AsyncDisposableStack): void {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-samenode-'));
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  const configuration = join(directory, 'nginx.conf');
  writeFileSync(
    configuration,
    `daemon off; master_process off; pid ${directory}/pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  server {
    listen [::]:${HTTP_PORT} ipv6only=off backlog=4096;
    listen [::]:${SHORT_PORT} ipv6only=off backlog=4096;
    location / { default_type text/plain; return 200 "an answer of a few bytes\\n"; }
  }
}
`,
  );
  pod.spawn('taskset', ['-c', SERVER_CPU, 'nginx', '-c', configuration], { stdio: 'ignore' });
}

/** To be called when everything has started: programs that are started from then on are clients. */
export function pinPrograms(): void {
  const servers = execFileSync('sh', ['-c', `pgrep -x -P ${process.pid} serve || true`], {
    encoding: 'utf8',
  });
  for (const pid of servers.split('\n').filter(Boolean)) pin(pid, SERVER_CPU);
  pin(`${process.pid}`, CLIENT_CPU);
}

function pin(pid: string, cpu: string): void {
  execFileSync('taskset', ['-cp', cpu, pid], { stdio: 'ignore' });
}

/** Drives wrk with one thread. @throws Error when a request failed. */
export async function runWrk(
  client: Pod,
  to: string,
  options: { readonly connections: number; readonly seconds: number; readonly close?: boolean },
): Promise<HttpRun> {
  const { connections, seconds, close = false } = options;
  const { stdout } = await client.run('wrk', [
    ...['-t1', `-c${connections}`, `-d${seconds}s`, '--latency'],
    ...(close ? ['-H', 'Connection: close'] : []),
    `http://${to}:${close ? SHORT_PORT : HTTP_PORT}/`,
  ]);
  if (/Socket errors|Non-2xx/.test(stdout)) throw new Error(`wrk in ${client.namespace}: ${stdout}`);
  const word = (pattern: RegExp) => pattern.exec(stdout)?.[1] ?? '';
  return {
    requests: Number(word(/(\d+) requests in/)),
    perSecond: Number(word(/Requests\/sec:\s+([\d.]+)/)),
    p50Us: microseconds(word(/50%\s+([\d.]+\w+)/)),
    p99Us: microseconds(word(/99%\s+([\d.]+\w+)/)),
  };
}

function microseconds(text: string): number {
  const value = Number.parseFloat(text);
  if (text.endsWith('us')) return value;
  return text.endsWith('ms') ? value * 1_000 : value * 1_000_000;
}
