import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { KmeshError, type TablesView } from '@kmesh/api';
import type { Host } from '../pods/host.ts';
import { type HttpAnswer, keepAlive, requestHttp } from '../traffic/http.ts';
import { connectFrom } from '../traffic/sockets.ts';
import { commandOf, inheritedEnvironment, kmeshExecutable } from './kmesh-program.ts';
import {
  type AccessLine,
  parseAccessLog,
  parseMetrics,
  type Sample,
  sumOf,
  type TrafficCounts,
  trafficSince,
} from './proxy-output.ts';

/** How the process ended. */
interface ProxyEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The real executable as a child process on a host of the lab, in the host's namespace and cgroup. */
export class NodeProxy {
  readonly host: Host;
  /** Executable that {@link NodeProxy.start} runs; assign another build's to test an upgrade. */
  executable: string;
  readonly #environment: Readonly<Record<string, string>>;
  readonly #discardsOutput: boolean;
  #child: ChildProcess | undefined;
  #ended: Promise<ProxyEnd> = Promise.resolve({ code: null, signal: null });
  #end: ProxyEnd | undefined;
  #log = '';

  constructor(
    host: Host,
    environment: Readonly<Record<string, string>>,
    options: { readonly executable?: string; readonly discardsOutput?: boolean } = {},
  ) {
    this.host = host;
    this.executable = options.executable ?? kmeshExecutable;
    this.#environment = environment;
    this.#discardsOutput = options.discardsOutput ?? false;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves when the most recently started process has ended; keeps the caller's process alive until then. */
  get ended(): Promise<ProxyEnd> {
    if (this.#child !== undefined && this.#end === undefined) keepAlive(this.#child, true);
    return this.#ended;
  }

  /** Output of all its processes so far. */
  get log(): string {
    return this.#log;
  }

  /** Starts it, with optional further settings; use {@link NodeProxy.ready} to wait until it is ready. */
  start(environment: Readonly<Record<string, string>> = {}): void {
    // More descriptors than the machine's default, as from a node's container runtime.
    const script = 'ulimit -n 1048576 2>/dev/null; exec "$@"';
    const child = this.host.spawn(
      '/bin/sh',
      ['-c', script, 'sh', ...commandOf(this.executable, 'proxy', 'ztunnel').flat()],
      {
        cwd: '/',
        env: { ...inheritedEnvironment(), ...this.#environment, ...environment },
        stdio: this.#discardsOutput ? 'ignore' : ['ignore', 'pipe', 'pipe'],
      },
    );
    keepAlive(child, false);
    this.#child = child;
    this.#end = undefined;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log += text;
      });
    }
    this.#ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#end = { code, signal };
        resolve(this.#end);
      });
    });
  }

  /** Waits until port 15021 reports ready. @throws KMESH_LAB_TIMEOUT with the end of its log */
  async ready(milliseconds = 20_000): Promise<void> {
    await this.until(
      'it is ready',
      async () => {
        const answer = await this.http(15021, '/healthz/ready').catch(() => undefined);
        return answer?.status === 200;
      },
      milliseconds,
    );
  }

  /** Sends one request to a port of the proxy on its loopback. */
  http(port: number, path: string, options: { readonly method?: string } = {}): Promise<HttpAnswer> {
    const { host } = this;
    return requestHttp(
      { connect: (to) => connectFrom(host, to) },
      { host: '127.0.0.1', port, path, method: options.method ?? 'GET' },
    );
  }

  async metrics(): Promise<Sample[]> {
    return parseMetrics((await this.http(15020, '/metrics')).body);
  }

  async configDump(): Promise<Record<string, unknown>> {
    return JSON.parse((await this.http(15000, '/config_dump')).body) as Record<string, unknown>;
  }

  /** Returns the contents of the kernel tables; empty for a proxy without a kernel path. */
  async tables(): Promise<TablesView> {
    return JSON.parse((await this.http(15000, '/kmesh/tables')).body) as TablesView;
  }

  /** Observes its log lines and counters from now on. */
  async watch(): Promise<ProxyWatch> {
    return new ProxyWatch(this, this.#log.length, await this.metrics());
  }

  /** Drains it and waits for its end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<ProxyEnd> {
    this.kill(signal);
    return await this.ended;
  }

  kill(signal: NodeJS.Signals): void {
    if (this.#end === undefined) this.#child?.kill(signal);
  }

  /** Polls until `condition` holds. @throws KMESH_LAB_TIMEOUT with the end of the log */
  async until(
    what: string,
    condition: () => boolean | Promise<boolean>,
    milliseconds = 20_000,
  ): Promise<void> {
    const deadline = performance.now() + milliseconds;
    while (!(await condition())) {
      const late = performance.now() > deadline;
      if (late || this.#end !== undefined) {
        const how = late ? `not within ${milliseconds} ms` : `ended (${this.#end?.code}) before`;
        const tail = this.#log.split('\n').slice(-30).join('\n');
        throw new KmeshError('KMESH_LAB_TIMEOUT', `The proxy on ${this.host.name}: ${how}: ${what}\n${tail}`);
      }
      await delay(10);
    }
  }
}

/** Log lines and counter increases of a proxy since a point in time. */
export class ProxyWatch {
  readonly #proxy: NodeProxy;
  readonly #position: number;
  readonly #before: readonly Sample[];
  readonly #lines: AccessLine[] = [];
  /** End of the part already read. */
  #read: number;

  constructor(proxy: NodeProxy, position: number, before: readonly Sample[]) {
    this.#proxy = proxy;
    this.#position = position;
    this.#read = position;
    this.#before = before;
  }

  /** Everything logged since. */
  get text(): string {
    return this.#proxy.log.slice(this.#position);
  }

  /** Complete access log lines; each is parsed once. */
  get lines(): AccessLine[] {
    const { log } = this.#proxy;
    const end = log.lastIndexOf('\n') + 1;
    if (end > this.#read) {
      for (const line of parseAccessLog(log.slice(this.#read, end))) this.#lines.push(line);
      this.#read = end;
    }
    return [...this.#lines];
  }

  /**
   * Waits for `count` access log lines of a direction with the given field values, and returns them. A line is written
   * shortly after its connection ends: where other lines may still arrive, give values that exclude them.
   *
   * @throws KMESH_LAB_TIMEOUT
   */
  async access(
    direction: 'inbound' | 'outbound',
    count = 1,
    having: Readonly<Record<string, string>> = {},
  ): Promise<AccessLine[]> {
    const wanted = Object.entries({ direction, ...having });
    const found = (): AccessLine[] =>
      this.lines.filter(({ fields }) => wanted.every(([name, value]) => fields[name] === value));
    await this.#proxy.until(`${count} ${direction} lines in the access log`, () => found().length >= count);
    return found();
  }

  /** The first such line; see {@link ProxyWatch.access}. */
  async line(
    direction: 'inbound' | 'outbound',
    having: Readonly<Record<string, string>> = {},
  ): Promise<AccessLine> {
    return (await this.access(direction, 1, having))[0] as AccessLine;
  }

  /**
   * Returns the traffic of a reporter since then, once it has closed `closed` connections. @throws KMESH_LAB_TIMEOUT
   */
  async traffic(
    reporter: 'source' | 'destination',
    closed = 1,
    labels: Readonly<Record<string, string>> = {},
  ): Promise<TrafficCounts> {
    let counts: TrafficCounts | undefined;
    await this.#proxy.until(`${closed} connections closed as ${reporter}`, async () => {
      counts = trafficSince(this.#before, await this.#proxy.metrics(), { reporter, ...labels });
      return counts.closed >= closed;
    });
    return counts as TrafficCounts;
  }

  /** Returns the increase of a metric since then. */
  async growth(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return sumOf(await this.#proxy.metrics(), name, labels) - sumOf(this.#before, name, labels);
  }
}
