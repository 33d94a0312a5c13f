import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { commandOf, inheritedEnvironment, kmeshExecutable } from '../../mesh/kmesh-program.ts';
import type { Host } from '../../pods/host.ts';
import type { HttpAnswer } from '../../traffic/http.ts';

/** How a process ended. */
interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface DaemonSettings {
  /** Its host. The ports are fixed, so only one daemon can run in a network namespace at a time. */
  readonly host: Host;
  readonly environment?: Readonly<Record<string, string>>;
  /** Executable of another version; this version's by default. */
  readonly executable?: string;
  /** Default `proxy ztunnel`. */
  readonly arguments?: readonly string[];
  /** Files to create before it starts, by path relative to its working directory. */
  readonly files?: Readonly<Record<string, string>>;
  /** A shell command that becomes the process, in which `"$@"` stands for the daemon's own command. */
  readonly through?: string;
}

/** A request to the daemon; to the admin server on loopback by default. */
interface DaemonRequest {
  readonly method?: string;
  readonly port?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The real executable as a child process with its own working directory. */
export interface DaemonProcess extends AsyncDisposable {
  readonly pid: number;
  readonly directory: string;
  readonly ended: Promise<ProcessEnd>;
  /** Everything it has written so far. */
  log(): string;
  http(path: string, request?: DaemonRequest): Promise<HttpAnswer>;
  json(path: string): Promise<Record<string, unknown>>;
  kill(signal: NodeJS.Signals): void;
  /** Waits until `condition` holds; fails with the log after `milliseconds` or when the process ends. */
  until(what: string, condition: () => boolean | Promise<boolean>, milliseconds?: number): Promise<void>;
  /** Waits until the admin server answers. */
  listening(): Promise<void>;
  /** Waits until port 15021 reports ready. */
  ready(): Promise<void>;
}

const answerMilliseconds = 20_000;

/** Starts the daemon. It is killed and its directory removed when it is disposed of. */
export function startDaemonProcess(settings: DaemonSettings): DaemonProcess {
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-daemon-'));
  // Runs at exit too, in case the test fails before it disposes of the daemon.
  const removeDirectory = (): void => rmSync(directory, { recursive: true, force: true });
  process.once('exit', removeDirectory);
  for (const [path, text] of Object.entries(settings.files ?? {})) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
  const executable = settings.executable ?? kmeshExecutable;
  const command = commandOf(executable, ...(settings.arguments ?? ['proxy', 'ztunnel'])).flat();
  const [program = '', ...rest] =
    settings.through === undefined ? command : ['/bin/sh', '-c', settings.through, 'sh', ...command];
  const child = settings.host.spawn(program, rest, {
    cwd: directory,
    env: {
      ...inheritedEnvironment(),
      KMESH_KERNEL_PATH: 'false',
      ISTIO_META_DNS_CAPTURE: 'false',
      ...settings.environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  let end: ProcessEnd | undefined;
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once('close', (code, signal) => {
      end = { code, signal };
      resolve(end);
    });
  });
  const http = (path: string, request: DaemonRequest = {}): Promise<HttpAnswer> =>
    settings.host.http({
      host: '127.0.0.1',
      port: request.port ?? 15000,
      path,
      method: request.method ?? 'GET',
      headers: request.headers ?? {},
    });
  const until: DaemonProcess['until'] = async (what, condition, milliseconds = 20_000) => {
    const deadline = performance.now() + milliseconds;
    for (;;) {
      // Repeats a request that gets no answer.
      if (await Promise.race([condition(), delay(answerMilliseconds, false, { ref: false })])) return;
      if (end !== undefined) throw new Error(`ended (${end.code ?? end.signal}) before: ${what}\n${log}`);
      if (performance.now() > deadline) throw new Error(`not in ${milliseconds} ms: ${what}\n${log}`);
      await delay(25);
    }
  };
  const answers = (path: string, port: number) => async (): Promise<boolean> => {
    try {
      return (await http(path, { port })).status === 200;
    } catch {
      return false;
    }
  };
  return {
    pid: child.pid ?? 0,
    directory,
    ended,
    log: () => log,
    http,
    json: async (path) => JSON.parse((await http(path)).body) as Record<string, unknown>,
    kill: (signal) => child.kill(signal),
    until,
    listening: () => until('the admin server answers', answers('/config_dump', 15000)),
    ready: () => until('the proxy is ready', answers('/healthz/ready', 15021)),
    [Symbol.asyncDispose]: async () => {
      if (end === undefined) child.kill('SIGKILL');
      await ended;
      process.off('exit', removeDirectory);
      removeDirectory();
    },
  };
}
