import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { KmeshError } from '@kmesh/api';

export interface CommandResult {
  /** Exit code, or `null` when a signal ended the command. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Text for standard input. */
  readonly input?: string;
  /** Milliseconds after which the command is killed; 10,000 by default. */
  readonly timeoutMs?: number;
  /** `false`: a failing command is a result, not an error. */
  readonly check?: boolean;
}

const PROGRAM_DIRECTORY = fileURLToPath(new URL('../../../../build/lab/', import.meta.url));

/**
 * Path of one of the lab's compiled helper programs.
 *
 * @throws KMESH_LAB_NOT_BUILT when `scripts/build-lab.sh` has not run.
 */
export function labProgram(name: 'enter' | 'namespace' | 'serve' | 'dial' | 'raw'): string {
  const path = `${process.env['KMESH_LAB_PROGRAMS'] ?? PROGRAM_DIRECTORY}/${name}`;
  if (existsSync(path)) return path;
  throw new KmeshError(
    'KMESH_LAB_NOT_BUILT',
    `The lab program ${path} is missing; run: bash scripts/build-lab.sh`,
  );
}

/** Generous for a short program on a busy emulated machine; still ends a program that hangs. */
const COMMAND_MS = 60_000;

/**
 * Waits for a child process and collects its output.
 *
 * @throws KMESH_LAB_COMMAND_FAILED when it cannot run, or ends with another code than 0 and `check` is not `false`.
 */
export function collect(
  child: ChildProcess,
  what: string,
  options: CommandOptions = {},
): Promise<CommandResult> {
  const timeout = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? COMMAND_MS);
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // If a command ends without reading its input, its exit code counts, not the broken pipe.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(options.input ?? '');
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      clearTimeout(timeout);
      reject(new KmeshError('KMESH_LAB_COMMAND_FAILED', `Cannot run ${what}: ${cause.message}`, { cause }));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timeout);
      if (code === 0 || options.check === false) {
        resolve({ code, signal, stdout, stderr });
        return;
      }
      const outcome = signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
      reject(new KmeshError('KMESH_LAB_COMMAND_FAILED', `${what} ${outcome}: ${(stderr || stdout).trim()}`));
    });
  });
}

/** Runs a command on this machine itself. Errors as {@link collect}. */
export function runCommand(
  command: string,
  parameters: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(command, parameters, { stdio: 'pipe' });
  return collect(child, [command, ...parameters].join(' '), options);
}

/** Runs lines of `ip` in one process, inside the named namespace. Errors as {@link collect}. */
export async function ipBatch(namespace: string, lines: readonly string[]): Promise<void> {
  await runCommand('ip', ['-n', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}
