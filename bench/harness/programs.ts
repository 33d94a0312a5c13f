/** The real programs that generate and serve load; clients and servers have one CPU each. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Pod } from '@kmesh/lab';

/** Clients run on the first CPU, servers on the next, so that scheduler placement does not affect the figures. */
const CLIENT_CPU = '0';
const SERVER_CPU = availableParallelism() > 1 ? '1' : '0';

/** Ports of nginx. Short connections have a separate one. */
export const HTTP_PORT = 9080;
export const SHORT_PORT = 9081;

/** Port of the bulk server: iperf3, or the lab's own. */
export const BULK_PORT = 8081;

/** Programs of Debian packages, by the name of the program. */
const packages = {
  wrk: 'wrk',
  nginx: 'nginx-light',
  iperf3: 'iperf3',
  haproxy: 'haproxy',
  taskset: 'util-linux',
  setpriv: 'util-linux',
  cc: 'gcc',
} as const;

/** Results of one run of wrk. */
export interface HttpRun {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

/** @throws Error naming the Debian packages that are missing. */
export function requirePrograms(...programs: readonly (keyof typeof packages)[]): void {
  const missing = programs.filter((program) => {
    try {
      execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'pipe' });
      return false;
    } catch {
      return true;
    }
  });
  if (missing.length === 0) return;
  const names = missing.map((program) => packages[program]);
  throw new Error(
    `this suite needs ${missing.join(', ')}: apt-get install --no-install-recommends ${names.join(' ')}`,
  );
}

/** Starts nginx with one worker in a pod; it ends with the lab. */
export function startNginx(pod: Pod, stack: AsyncDisposableStack): void {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-bench-'));
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

/** Starts iperf3's server in a pod; it ends with the lab. */
export function startIperf(pod: Pod): void {
  pod.spawn('taskset', ['-c', SERVER_CPU, 'iperf3', '-s', '-p', `${BULK_PORT}`], { stdio: 'ignore' });
}

/** Call when everything has started: programs started later are clients. */
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

/**
 * Waits until nginx answers and the caches of both sides are warm. @throws Error when it does not answer within 10
 * seconds
 */
export async function warmUp(client: Pod, to: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    const answer = await client.http({ host: to, port: HTTP_PORT }).catch((error: unknown) => error);
    if (answer !== null && typeof answer === 'object' && 'status' in answer && answer.status === 200) break;
    if (performance.now() > deadline)
      throw new Error(`nginx does not answer ${client.namespace} at ${to}:${HTTP_PORT}: ${String(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await runWrk(client, to, { connections: 8, seconds: 1, close: true });
  await runWrk(client, to, { connections: 8, seconds: 1 });
}

/** Runs iperf3. Returns its throughput in Gbit/s as the server counts it. @throws Error when it fails */
export async function runIperf(
  client: Pod,
  to: string,
  options: { readonly streams: number; readonly seconds: number },
): Promise<number> {
  const words = [
    '-c',
    to,
    '-p',
    `${BULK_PORT}`,
    '-P',
    `${options.streams}`,
    '-t',
    `${options.seconds}`,
    '-J',
  ];
  const { stdout } = await client.run('iperf3', words, { check: false });
  const answer = JSON.parse(stdout) as {
    readonly error?: string;
    readonly end?: { readonly sum_received?: { readonly bits_per_second?: number } };
  };
  const bits = answer.end?.sum_received?.bits_per_second;
  if (answer.error !== undefined || bits === undefined)
    throw new Error(`iperf3 in ${client.namespace}: ${answer.error ?? stdout}`);
  return bits / 1e9;
}

/** Percentiles of latency at a fixed rate, in µs from the time when a request was due. */
export interface PacedRun {
  readonly p50: number;
  readonly p99: number;
}

const pacedSource = fileURLToPath(new URL('native/paced-http.c', import.meta.url));
const buildFolder = fileURLToPath(new URL('../../build/bench/', import.meta.url));
let pacedProgram: string | undefined;

/** Sends requests at a fixed rate over 32 connections, regardless of answers. @throws Error when a connection fails */
export async function runPaced(
  client: Pod,
  to: string,
  options: { readonly rate: number; readonly seconds: number },
): Promise<PacedRun> {
  if (pacedProgram === undefined) {
    pacedProgram = `${buildFolder}paced-http`;
    mkdirSync(buildFolder, { recursive: true });
    execFileSync('cc', ['-std=gnu17', '-O2', '-Wall', '-Werror', '-o', pacedProgram, pacedSource]);
  }
  const words = [to, `${HTTP_PORT}`, '32', `${options.rate}`, `${options.seconds}`];
  return JSON.parse((await client.run(pacedProgram, words)).stdout) as PacedRun;
}

function microseconds(text: string): number {
  const value = Number.parseFloat(text);
  if (text.endsWith('us')) return value;
  return text.endsWith('ms') ? value * 1_000 : value * 1_000_000;
}
