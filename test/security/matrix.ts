import {
  type AccessLine,
  createLab,
  type DialFailure,
  endpointText,
  type Lab,
  type LabMesh,
  type MeshPod,
  type ProxyWatch,
  parseAccessLog,
  parseEndpoint,
  startMesh,
} from '@kmesh/lab';
import { untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { MeshState } from '@kmesh/orchestration';
import { type Caller, makeCallers } from './callers.ts';
import { type Attempt, type Expected, expectedOf } from './expected.ts';
import { policyUpdates, type Scenario } from './scenarios.ts';

const ports = [8080, 9090] as const;
const families = ['v4', 'v6'] as const;

/** Result of one scenario. */
export interface Outcome {
  /** Sentences about connections with a wrong verdict or path. */
  readonly problems: readonly string[];
  readonly connections: number;
  readonly byPath: Readonly<Record<'kernel' | 'tunnel' | 'denied', number>>;
}

/** Servers on one node and all callers, with real daemons on two nodes. */
export interface Matrix extends AsyncDisposable {
  readonly callers: readonly Caller[];
  readonly servers: readonly MeshPod[];
  /**
   * Dials every server, port and family from every caller under these policies. {@link settle} checks the log lines
   * that are written late.
   */
  run(scenario: Scenario): Promise<Outcome>;
  /** Waits for the late lines of all scenarios that were run; returns their problems. */
  settle(): Promise<string[]>;
  /** Returns the names of the callers that the first server serves on a port, in both families. */
  servedBy(scenario: Scenario, port: number): Promise<string[]>;
}

/** Builds it; the servers are captured by iptables and by nftables. */
export async function startMatrix(options: { readonly kernelPath: boolean }): Promise<Matrix> {
  const lab = await createLab();
  try {
    await lab.node();
    await lab.node();
    const mesh = await startMesh(lab, options);
    const servers: MeshPod[] = [];
    for (const variant of ['iptables', 'nftables'] as const) {
      const server = await mesh.pod({ name: variant, namespace: 'shop', captured: { variant } });
      for (const port of ports) await server.pod.serve({ port, name: `${variant}-${port}` });
      servers.push(server);
    }
    const callers = await makeCallers(mesh);
    return new RunningMatrix(lab, mesh, servers, callers, options.kernelPath);
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** Local ports of callers with late lines in one scenario; the port assigns a line to its scenario. */
interface PortWindow {
  readonly first: number;
  readonly last: number;
}
const PORTS_OF_A_WINDOW = 64;
const FIRST_PORT = 20_000;
const LAST_PORT = 65_000;

/** A connection without a line so far. */
interface LateLine {
  readonly scenario: Scenario;
  readonly attempt: Attempt;
  readonly expected: Expected;
  readonly served: boolean;
  readonly window: PortWindow;
}

class RunningMatrix implements Matrix {
  readonly callers: readonly Caller[];
  readonly servers: readonly MeshPod[];
  readonly #lab: Lab;
  readonly #mesh: LabMesh;
  readonly #kernelPath: boolean;
  readonly #view = new MeshState();
  #scenario: Scenario | undefined;
  /** Both ends of connections that the proxy accepted, from the log read so far. */
  readonly #captured = new Set<string>();
  #logRead = 0;
  #window: PortWindow = windowAfter();
  #late: LateLine[] = [];
  /** Time since the first late line was expected. */
  #lateWatch: ProxyWatch | undefined;

  constructor(
    lab: Lab,
    mesh: LabMesh,
    servers: readonly MeshPod[],
    callers: readonly Caller[],
    kernelPath: boolean,
  ) {
    this.#lab = lab;
    this.#mesh = mesh;
    this.servers = servers;
    this.callers = callers;
    this.#kernelPath = kernelPath;
  }

  async run(scenario: Scenario): Promise<Outcome> {
    await this.#enter(scenario);
    const attempts = this.callers.flatMap((caller) => this.#attempts(caller));
    const expected = attempts.map((attempt) => expectedOf(this.#view, attempt, this.#kernelPath));
    const delivered = await this.#delivered();
    this.#readLog();
    const watch = await this.#mesh.node(0).proxy.watch();
    this.#lateWatch ??= watch;
    const refused = new Map<string, DialFailure>();
    await Promise.all(
      this.callers.map(async (caller) => {
        for (const [target, failure] of await this.#refusedTargets(caller)) {
          refused.set(`${caller.name}|${target}`, failure);
        }
      }),
    );
    const lines = await this.#logged(scenario, watch, attempts, refused);
    const byKey = new Map(lines.map((line) => [keyOfLine(line), line] as const));
    // If two connects use the same entry of the hook's table, one of them takes the tunnel path; these are counted.
    let met = await watch.growth('kmesh_connect_decisions_total', { path: 'tunnel', reason: 'flow' });
    const problems = attempts.flatMap((attempt, at) => {
      const wanted = expected[at] as Expected;
      const served = !refused.has(`${attempt.caller.name}|${targetOf(attempt)}`);
      if (this.#isLate(attempt.caller)) {
        this.#late.push({ scenario, attempt, expected: wanted, served, window: this.#window });
        return [];
      }
      const line = byKey.get(keyOf(attempt));
      // Connection tracking may still have the translation of a refused connection from the same port.
      const excused =
        wanted.path === 'kernel' &&
        line?.fields['path'] === 'tunnel' &&
        (this.#captured.has(endsOf(line)) || met-- > 0);
      return problemsOf(attempt, excused ? { ...wanted, path: 'tunnel' } : wanted, served, line);
    });
    const servedCount = expected.filter(({ served }) => served).length;
    for (const [who, { step, reason }] of refused) {
      if (reason === 'TIMEOUT') problems.push(`${who}: neither served nor refused: ${step}`);
    }
    const reached = (await this.#delivered()) - delivered;
    if (reached !== servedCount) {
      problems.push(`${reached} connections reached the applications, not ${servedCount}`);
    }
    return {
      problems: problems.map((problem) => `${scenario.name}: ${problem}`),
      connections: attempts.length,
      byPath: {
        kernel: expected.filter(({ path }) => path === 'kernel').length,
        tunnel: expected.filter(({ path, served }) => path === 'tunnel' && served).length,
        denied: expected.length - servedCount,
      },
    };
  }

  async settle(): Promise<string[]> {
    const [watch, late] = [this.#lateWatch, this.#late];
    if (watch === undefined) return [];
    const lineOf = ({ attempt, window }: LateLine, lines: readonly AccessLine[]): AccessLine | undefined =>
      lines.find((line) => keyOfLine(line) === keyOf(attempt) && isOfWindow(line, window));
    const callers = new Set(late.map(({ attempt }) => keyOf(attempt)));
    const lines = (): AccessLine[] =>
      watch.lines.filter((line) => line.fields['direction'] === 'inbound' && callers.has(keyOfLine(line)));
    let left = late;
    try {
      await this.#mesh.node(0).proxy.until('the late lines of the access log', () => {
        const known = lines();
        left = left.filter((one) => lineOf(one, known) === undefined);
        return left.length === 0;
      });
    } catch (error) {
      const missing = left.map(({ scenario, attempt }) => `${scenario.name}: ${keyOf(attempt)}`);
      throw new Error(`no line of the access log for ${missing.join('; ')}`, { cause: error });
    }
    const known = lines();
    this.#late = [];
    this.#lateWatch = undefined;
    this.#window = windowAfter();
    return late.flatMap((one) =>
      problemsOf(one.attempt, one.expected, one.served, lineOf(one, known)).map(
        (problem) => `${one.scenario.name}: ${problem}`,
      ),
    );
  }

  async servedBy(scenario: Scenario, port: number): Promise<string[]> {
    await this.#enter(scenario);
    const [server] = this.servers as [MeshPod];
    const targets = families.map((family) => endpointText(server.pod.addresses[family], port));
    const served = await Promise.all(
      this.callers.map(async (caller) => {
        const refused = await this.#refusedTargets(caller);
        return targets.some((target) => refused.has(target)) ? [] : [caller.name];
      }),
    );
    return served.flat();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#mesh.close();
    await this.#lab.close();
  }

  async #enter(scenario: Scenario): Promise<void> {
    const [first] = this.servers as [MeshPod];
    const workload = { ...first.workload, authorizationPolicies: scenario.selected };
    const updates = [...policyUpdates(this.#scenario, scenario), { kind: 'workload', workload } as const];
    this.#view.apply(updates);
    await this.#mesh.apply(...updates);
    this.#scenario = scenario;
    this.#window = windowAfter(this.#window);
    // Until then connections take the tunnel path.
    await untilTablesFollow(this.#mesh);
  }

  /**
   * Returns whether lines of a caller on the kernel path are written seconds later: its sockets are outside the mesh,
   * and the daemon waits for the client's side that a pod's connection would have.
   */
  #isLate(caller: Caller): boolean {
    return this.#kernelPath && caller.attestedAs !== undefined;
  }

  #readLog(): void {
    const { log } = this.#mesh.node(0).proxy;
    const end = log.lastIndexOf('\n') + 1;
    for (const line of parseAccessLog(log.slice(this.#logRead, end)))
      if (line.fields['path'] === 'tunnel') this.#captured.add(endsOf(line));
    this.#logRead = end;
  }

  #attempts(caller: Caller): Attempt[] {
    return this.servers.flatMap(({ workload }, at) => {
      const server = {
        ...workload,
        authorizationPolicies: at === 0 ? (this.#scenario?.selected ?? []) : [],
      };
      return ports.flatMap((port) => families.map((family) => ({ caller, server, family, port })));
    });
  }

  /**
   * Returns one line of the access log for each attempt except late ones; the error names missing ones and their
   * outcome.
   */
  async #logged(
    scenario: Scenario,
    watch: ProxyWatch,
    attempts: readonly Attempt[],
    refused: ReadonlyMap<string, DialFailure>,
  ): Promise<AccessLine[]> {
    const awaited = attempts.filter(({ caller }) => !this.#isLate(caller));
    const keys = new Set(awaited.map(keyOf));
    const found = (): AccessLine[] =>
      watch.lines.filter((line) => line.fields['direction'] === 'inbound' && keys.has(keyOfLine(line)));
    try {
      const what = `${awaited.length} inbound lines in the access log`;
      await this.#mesh.node(0).proxy.until(what, () => found().length >= awaited.length);
      return found();
    } catch (error) {
      const seen = new Set(found().map(keyOfLine));
      const missing = awaited
        .filter((attempt) => !seen.has(keyOf(attempt)))
        .map((attempt) => {
          const failure = refused.get(`${attempt.caller.name}|${targetOf(attempt)}`);
          const outcome = failure === undefined ? 'served' : `${failure.step}: ${failure.reason}`;
          return `${attempt.caller.name}: ${keyOf(attempt)}: ${outcome}`;
        });
      const what = `no line of the access log for ${missing.join('; ') || 'a connection made twice'}`;
      throw new Error(`${scenario.name}: ${what}`, { cause: error });
    }
  }

  /** Returns the targets that did not answer a caller. */
  async #refusedTargets(caller: Caller): Promise<Map<string, DialFailure>> {
    const attempts = this.#attempts(caller);
    if (!this.#isLate(caller)) return await dialAll(caller, attempts);
    const refused = new Map<string, DialFailure>();
    const share = PORTS_OF_A_WINDOW / ports.length;
    for (const [at, port] of ports.entries()) {
      const first = this.#window.first + at * share;
      const range = `net.ipv4.ip_local_port_range=${first} ${first + share - 1}`;
      await caller.host.run('sysctl', ['-qw', range]);
      // Of two captured connections from the same port to two ports of a server, one gets another source port.
      const some = attempts.filter((attempt) => attempt.port === port);
      for (const [target, failure] of await dialAll(caller, some)) refused.set(target, failure);
    }
    return refused;
  }

  async #delivered(): Promise<number> {
    const counts = await Promise.all(this.servers.map(({ pod }) => pod.counts()));
    return counts.flat().reduce((sum, { connections }) => sum + connections, 0);
  }
}

/** Returns the targets that did not answer a caller. */
async function dialAll(caller: Caller, attempts: readonly Attempt[]): Promise<Map<string, DialFailure>> {
  const to = attempts.map(targetOf);
  const report = await caller.host.dial({
    to,
    connections: to.length,
    concurrency: to.length,
    ...(caller.mark === undefined ? {} : { mark: caller.mark }),
    ...(caller.sources === undefined ? {} : { sources: caller.sources }),
  });
  return new Map(report.failures.map((failure) => [failure.target, failure]));
}

/** @throws Error when all are used and {@link Matrix.settle} has not been called */
function windowAfter(before?: PortWindow): PortWindow {
  const first = before === undefined ? FIRST_PORT : before.last + 1;
  const last = first + PORTS_OF_A_WINDOW - 1;
  if (last > LAST_PORT) throw new Error('there are no more ports for late lines: settle the matrix first');
  return { first, last };
}

function isOfWindow({ fields }: AccessLine, { first, last }: PortWindow): boolean {
  const { port } = parseEndpoint(fields['src.addr'] ?? '');
  return port >= first && port <= last;
}

function targetOf({ server, family, port }: Attempt): string {
  return endpointText(server.addresses[family === 'v4' ? 0 : 1] ?? '', port);
}

function keyOf(attempt: Attempt): string {
  return `${attempt.caller.seen[attempt.family]} → ${targetOf(attempt)}`;
}

function endsOf({ fields }: AccessLine): string {
  return `${fields['src.addr']} → ${fields['dst.hbone_addr'] ?? fields['dst.addr']}`;
}

function keyOfLine({ fields }: AccessLine): string {
  const source = parseEndpoint(fields['src.addr'] ?? '').ip;
  return `${source} → ${fields['dst.hbone_addr'] ?? fields['dst.addr']}`;
}

function problemsOf(
  attempt: Attempt,
  expected: Expected,
  served: boolean,
  line: AccessLine | undefined,
): string[] {
  const who = `${attempt.caller.name} to ${targetOf(attempt)}`;
  if (line === undefined) return [`${who} has no line in the access log`];
  const problems: string[] = [];
  if (served !== expected.served) {
    problems.push(`${who} was ${served ? 'served' : 'refused'} (${line.fields['error'] ?? 'no error'})`);
  }
  const path = line.fields['path'];
  if (path !== expected.path) {
    problems.push(`${who} went by the path ${path}, not ${expected.path}, from ${line.fields['src.addr']}`);
  }
  return problems;
}
