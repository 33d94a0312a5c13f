import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { KmeshError, type MeshUpdate } from '@kmesh/api';
import type { CertificateSettings } from './certificate-service.ts';
import type { IstiodFaults } from './faults.ts';
import { generatedWorkload } from './generate-mesh.ts';
import type { FakeIstiod } from './istiod-interface.ts';

/** Addresses and credentials of a fake istiod process. */
interface IstiodReady {
  readonly xdsAddress: string;
  readonly caAddress: string;
  readonly plaintextXdsAddress: string;
  readonly rootPem: string;
  readonly token: string;
}

/** A fake istiod in a separate process. */
interface IstiodProcess extends IstiodReady {
  readonly pid: number;
  /** Sends a control command and waits for its answer. Throws KMESH_LAB_ISTIOD with the message of the process. */
  command(command: ControlCommand): Promise<Record<string, unknown>>;
  /** Ends it; throws KMESH_LAB_PROTOCOL when a client broke the protocol. */
  close(): Promise<void>;
}

interface IstiodProcessOptions {
  /** Command line of `main.ts`, such as `['--generate', '10000']`. */
  readonly arguments: readonly string[];
  /** Programs to start it through, such as `['ip', 'netns', 'exec', name]`. */
  readonly through?: readonly string[];
}

/** Starts the fake istiod as a separate process, so that its cost does not count as the client's. */
export async function startIstiodProcess(options: IstiodProcessOptions): Promise<IstiodProcess> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const [program = process.execPath, ...rest] = [...(options.through ?? []), process.execPath];
  const child = spawn(program, [...rest, main, ...options.arguments], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const waiting: ((message: Record<string, unknown> | undefined) => void)[] = [];
  const problems: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const message = JSON.parse(line) as Record<string, unknown>;
    if (message['event'] === 'error') problems.push(String(message['message']));
    waiting.shift()?.(message);
  });
  lines.on('close', () => {
    for (const resolve of waiting.splice(0)) resolve(undefined);
  });
  const answer = async (): Promise<Record<string, unknown>> => {
    const message = await new Promise<Record<string, unknown> | undefined>((resolve) =>
      waiting.push(resolve),
    );
    if (message === undefined) throw new KmeshError('KMESH_LAB_ISTIOD', 'the fake istiod process has ended');
    if (message['event'] === 'error') throw new KmeshError('KMESH_LAB_ISTIOD', String(message['message']));
    return message;
  };
  const ready = (await answer()) as unknown as IstiodReady;
  return {
    ...ready,
    pid: child.pid ?? 0,
    command: (command) => {
      const answered = answer();
      child.stdin.write(`${JSON.stringify(command)}\n`);
      return answered;
    },
    close: async () => {
      child.stdin.end();
      await exited;
      if (child.exitCode !== 0) {
        throw new KmeshError('KMESH_LAB_PROTOCOL', problems.at(-1) ?? `exit code ${child.exitCode}`);
      }
    },
  };
}

/** Command on the standard input of a fake istiod process. */
export type ControlCommand =
  | { readonly command: 'status' }
  /** Flips the health of the next `count` generated workloads, starting over at the end. */
  | { readonly command: 'churn'; readonly count: number }
  | { readonly command: 'fault'; readonly name: keyof IstiodFaults; readonly arguments?: readonly unknown[] }
  | { readonly command: 'certificates'; readonly settings: Partial<CertificateSettings> }
  | { readonly command: 'close' };

/** The generated part of the mesh, for `churn`. */
export interface GeneratedPart {
  readonly workloads: number;
  readonly services: number;
  readonly nodes: number;
}

/** Returns updates that flip the health of the next `count` workloads, and the next position. */
function churn(part: GeneratedPart, from: number, count: number): { updates: MeshUpdate[]; next: number } {
  const updates: MeshUpdate[] = [];
  for (let step = from; step < from + count && part.workloads > 0; step += 1) {
    const unhealthy = Math.floor(step / part.workloads) % 2 === 0;
    const workload = generatedWorkload(step % part.workloads, part.services, part.nodes);
    updates.push({
      kind: 'workload',
      workload: { ...workload, status: unhealthy ? 'Unhealthy' : 'Healthy' },
    });
  }
  return { updates, next: from + count };
}

/** Executes control commands. The caller handles `close`. */
export class IstiodControl {
  readonly #istiod: FakeIstiod;
  readonly #generated: GeneratedPart;
  #position = 0;

  constructor(istiod: FakeIstiod, generated: GeneratedPart) {
    this.#istiod = istiod;
    this.#generated = generated;
  }

  /** @throws KMESH_LAB_COMMAND when the command is unknown. */
  async run(command: ControlCommand): Promise<Record<string, unknown>> {
    const istiod = this.#istiod;
    switch (command.command) {
      case 'status':
        return {
          connections: istiod.connections,
          requests: istiod.requests.length,
          rejected: istiod.requests
            .filter((request) => request.kind === 'nack')
            .map((request) => request.error),
          certificateRequests: istiod.certificateRequests.length,
          violations: istiod.violations,
        };
      case 'churn': {
        const { updates, next } = churn(this.#generated, this.#position, command.count);
        this.#position = next;
        istiod.update(updates);
        return { updated: updates.length };
      }
      case 'fault': {
        const fault = istiod.faults[command.name] as ((...values: unknown[]) => unknown) | undefined;
        if (fault === undefined)
          throw new KmeshError('KMESH_LAB_COMMAND', `there is no fault "${command.name}"`);
        await fault(...(command.arguments ?? []));
        return {};
      }
      case 'certificates':
        Object.assign(istiod.certificates, command.settings);
        return {};
      default:
        throw new KmeshError('KMESH_LAB_COMMAND', `unknown command ${JSON.stringify(command)}`);
    }
  }
}
