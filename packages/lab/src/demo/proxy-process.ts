import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Overview } from '@kmesh/api';
import { KmeshError } from '@kmesh/api';
import { commandOf, inheritedEnvironment, kmeshExecutable } from '../mesh/kmesh-program.ts';

/** The node proxy as a separate process, as on a real node. */
export interface ProxyProcess {
  overview(): Promise<Overview>;
  /** Total nanoseconds in the connect programs and their run count. */
  connectHook(): Promise<{ readonly nanoseconds: number; readonly runs: number }>;
  /** Bytes of all connections that the client side reported. */
  bytes(): Promise<{ readonly sent: number; readonly received: number }>;
  /** Identities for which the proxy holds a certificate. */
  certificates(): Promise<number>;
  /** The proxy's reason for not applying the local mesh file; undefined while it is applied. */
  problem(): string | undefined;
  /** Drains it and waits for its end. */
  stop(): Promise<void>;
}

const admin = 'http://127.0.0.1:15000';
const readyMilliseconds = 20_000;
const stopMilliseconds = 10_000;

/**
 * Starts `kmesh proxy ztunnel` with the given settings and waits until it is ready.
 *
 * @throws KMESH_DEMO_PROXY with the end of its log when it does not become ready.
 */
export async function startProxy(environment: NodeJS.ProcessEnv, logPath: string): Promise<ProxyProcess> {
  const [program, args] = commandOf(kmeshExecutable, 'proxy', 'ztunnel');
  const child = spawn(program, args, {
    env: { ...inheritedEnvironment(), ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Ctrl-C reaches only the demo, which then stops the proxy.
    detached: true,
  });
  const output = keepOutput(child, logPath);
  const onExit = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', onExit);
  try {
    await untilReady(child);
  } catch (error) {
    child.kill('SIGKILL');
    const cause = error instanceof Error ? error.message : String(error);
    throw new KmeshError(
      'KMESH_DEMO_PROXY',
      `the node proxy did not become ready: ${cause}\n${output.tail()}`,
      {
        cause: error,
      },
    );
  }
  return {
    overview: async () => (await getJson('/kmesh/overview')) as Overview,
    connectHook: async () => {
      const { hooks } = (await getJson('/kmesh/tables')) as {
        hooks: readonly { program: string; runs: number; nanoseconds: number }[];
      };
      const connects = hooks.filter(({ program }) => program.startsWith('kmesh_connect'));
      return {
        nanoseconds: connects.reduce((sum, hook) => sum + hook.nanoseconds, 0),
        runs: connects.reduce((sum, hook) => sum + hook.runs, 0),
      };
    },
    bytes: async () => {
      const response = await fetch('http://127.0.0.1:15020/metrics', { signal: AbortSignal.timeout(2_000) });
      const text = await response.text();
      // In the metrics, received is what the client sent.
      return {
        sent: sumOf(text, 'istio_tcp_received_bytes_total'),
        received: sumOf(text, 'istio_tcp_sent_bytes_total'),
      };
    },
    certificates: async () => {
      const { certificates } = (await getJson('/config_dump')) as {
        certificates: readonly { state: string }[];
      };
      return certificates.filter(({ state }) => state === 'Available').length;
    },
    problem: output.problem,
    stop: async () => {
      process.off('exit', onExit);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), stopMilliseconds);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Sum of a counter over the series of the source reporter. */
function sumOf(metrics: string, name: string): number {
  let sum = 0;
  for (const [, value] of metrics.matchAll(
    new RegExp(`^${name}\\{reporter="source"[^\\n]*\\} (\\S+)$`, 'gm'),
  )) {
    sum += Number(value);
  }
  return sum;
}

async function getJson(path: string): Promise<unknown> {
  const response = await fetch(`${admin}${path}`, { signal: AbortSignal.timeout(2_000) });
  return await response.json();
}

async function untilReady(child: ChildProcess): Promise<void> {
  const deadline = Date.now() + readyMilliseconds;
  let last = 'no answer on port 15021';
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`it ended with exit code ${child.exitCode}`);
    try {
      const response = await fetch('http://127.0.0.1:15021/healthz/ready', {
        signal: AbortSignal.timeout(1_000),
      });
      last = (await response.text()).trim();
      if (response.status === 200) return;
    } catch {
      // Not listening yet.
    }
    await delay(50);
  }
  throw new Error(last);
}

const tailLines = 12;
/** The log on disk is at most twice this long: the current part and the one before. */
const logPartBytes = 4 * 1024 * 1024;

/** The retained part of the proxy's output. */
interface Output {
  tail(): string;
  /** Why the local mesh file is not applied; undefined once it is. */
  problem(): string | undefined;
}

function keepOutput(child: ChildProcess, logPath: string): Output {
  let lines: string[] = [];
  let problem: string | undefined;
  let written = 0;
  writeFileSync(logPath, '');
  const take = (line: string): void => {
    if (line.includes('local mesh file not applied')) problem = line.split('\t').slice(3).join(' ');
    else if (line.includes('local mesh file applied')) problem = undefined;
  };
  for (const stream of [child.stdout, child.stderr]) {
    let rest = '';
    stream?.setEncoding('utf8').on('data', (text: string) => {
      if (written > logPartBytes) {
        renameSync(logPath, `${logPath}.1`);
        written = 0;
      }
      appendFileSync(logPath, text);
      written += text.length;
      const whole = (rest + text).split('\n');
      rest = whole.pop() ?? '';
      for (const line of whole) take(line);
      lines = [...lines, ...whole.filter((line) => line !== '')].slice(-tailLines);
    });
  }
  return { tail: () => lines.join('\n'), problem: () => problem };
}
