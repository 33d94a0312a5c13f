import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { KmeshError } from '@kmesh/api';
import type { ControlCommand } from './control-line.ts';

/** Where a fake istiod process listens, and how to be let in. */
interface IstiodReady {
  readonly xdsAddress: string;
  readonly caAddress: string;
  readonly plaintextXdsAddress: string;
  readonly rootPem: string;
  readonly token: string;
}

/** A fake istiod in a process of its own. */
interface IstiodProcess extends IstiodReady {
  readonly pid: number;
  /** Sends a control command and waits for its answer. Throws KMESH_LAB_ISTIOD with the process's own words. */
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

/** Starts the fake istiod as its own process, so that what it costs is not the client's. */
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
