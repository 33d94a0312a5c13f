import { setTimeout as delay } from 'node:timers/promises';
import {
  type AccessLine,
  createLab,
  type DialFailure,
  endpointText,
  type Lab,
  type LabMesh,
  type MeshPod,
  type ProxyWatch,
  parseEndpoint,
  startMesh,
} from '@kmesh/lab';
import { MeshState } from '@kmesh/orchestration';
import { type Caller, makeCallers } from './callers.ts';
import { type Attempt, type Expected, expectedOf } from './expected.ts';
import { policyUpdates, type Scenario } from './scenarios.ts';

const ports = [8080, 9090] as const;
const families = ['v4', 'v6'] as const;

/** Verdicts are computed anew some milliseconds after a change; until then connections ask the tunnel path. */
const VERDICTS_MILLISECONDS = 60;

/** What one scenario showed. */
export interface Outcome {
  /** Sentences about connections that were not judged, or not served by the path, that they should have been. */
  readonly problems: readonly string[];
  readonly connections: number;
  readonly byPath: Readonly<Record<'kernel' | 'tunnel' | 'denied', number>>;
}

/** Servers of one node and everybody who may call them, with real daemons on two nodes. */
export interface Matrix extends AsyncDisposable {
  readonly callers: readonly Caller[];
  readonly servers: readonly MeshPod[];
  /** Every caller against every server, port and family under these policies. */
  run(scenario: Scenario): Promise<Outcome>;
  /** Names of the callers that the first server serves on a port, in both families. */
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

class RunningMatrix implements Matrix {
  readonly callers: readonly Caller[];
  readonly servers: readonly MeshPod[];
  readonly #lab: Lab;
  readonly #mesh: LabMesh;
  readonly #kernelPath: boolean;
  readonly #view = new MeshState();
  #scenario: Scenario | undefined;
  /** Both ends of connections that the proxy accepted. */
  readonly #captured = new Set<string>();

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
    const watch = await this.#mesh.node(0).proxy.watch();
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
    // Where two connects meet in one line of the hook's memory, one of them takes the tunnel path; they are counted.
    let met = await watch.growth('kmesh_connect_decisions_total', { path: 'tunnel', reason: 'flow' });
    const problems = attempts.flatMap((attempt, at) => {
      const wanted = expected[at] as Expected;
      const served = !refused.has(`${attempt.caller.name}|${targetOf(attempt)}`);
      const line = byKey.get(keyOf(attempt));
      // A port that a refused connection had a moment ago is tracked with that one's translation still.
      const excused =
        wanted.path === 'kernel' &&
        line?.fields['path'] === 'tunnel' &&
        (this.#captured.has(endsOf(line)) || met-- > 0);
      return problemsOf(attempt, excused ? { ...wanted, path: 'tunnel' } : wanted, served, line);
    });
    for (const line of lines) if (line.fields['path'] === 'tunnel') this.#captured.add(endsOf(line));
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
    if (this.#kernelPath) await delay(VERDICTS_MILLISECONDS);
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

  /** One line of the access log for each attempt; where some are missing, the error says which, and what came of them. */
  async #logged(
    scenario: Scenario,
    watch: ProxyWatch,
    attempts: readonly Attempt[],
    refused: ReadonlyMap<string, DialFailure>,
  ): Promise<AccessLine[]> {
    try {
      return await watch.access('inbound', attempts.length);
    } catch (error) {
      const seen = new Set(
        watch.lines.filter(({ fields }) => fields['direction'] === 'inbound').map(keyOfLine),
      );
      const missing = attempts
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

  /** Targets that did not answer a caller. */
  async #refusedTargets(caller: Caller): Promise<Map<string, DialFailure>> {
    const to = this.#attempts(caller).map(targetOf);
    const report = await caller.host.dial({
      to,
      connections: to.length,
      concurrency: to.length,
      ...(caller.mark === undefined ? {} : { mark: caller.mark }),
      ...(caller.sources === undefined ? {} : { sources: caller.sources }),
    });
    return new Map(report.failures.map((failure) => [failure.target, failure]));
  }

  async #delivered(): Promise<number> {
    const counts = await Promise.all(this.servers.map(({ pod }) => pod.counts()));
    return counts.flat().reduce((sum, { connections }) => sum + connections, 0);
  }
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
  if (path !== expected.path) problems.push(`${who} went by the path ${path}, not ${expected.path}`);
  return problems;
}
