import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { NetworkNamespace } from '@kmesh/linux';

/** Result of one connect: the peer of the socket, or the errno of an immediate failure. */
export type DialResult =
  | { readonly ip: string; readonly port: number; readonly errno?: undefined }
  | { readonly errno: number; readonly ip?: undefined; readonly port?: undefined };

/** A process inside a namespace that dials on request; see native/dial-many.c. */
export class Dialer {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  readonly #interface: Interface;

  constructor(namespace: NetworkNamespace) {
    this.#process = spawn(buildNative('dial-many'), [namespace.path], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#interface = createInterface(this.#process.stdout);
    this.#lines = this.#interface[Symbol.asyncIterator]();
  }

  /** Dials each target `count` times; the answers are in the order of the targets. */
  async dial(
    targets: readonly { readonly ip: string; readonly port: number; readonly count: number }[],
  ): Promise<DialResult[][]> {
    this.#process.stdin.write(targets.map(({ ip, port, count }) => `${ip} ${port} ${count}\n`).join(''));
    const answers: DialResult[][] = [];
    for (let index = 0; index < targets.length; index++) {
      const line = await this.#lines.next();
      if (line.done === true) throw new Error('dial-many ended early');
      answers.push(line.value.trim().split(' ').map(parseAnswer));
    }
    return answers;
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin.end();
    await ended;
    this.#interface.close();
  }
}

function parseAnswer(word: string): DialResult {
  const [first = '', second = ''] = word.split('|');
  return first === 'errno' ? { errno: Number(second) } : { ip: first, port: Number(second) };
}

/**
 * Compiles packages/lab/src/testing/kernel/native/NAME.c into build/test unless that is up to date; returns the
 * program's path.
 */
export function buildNative(name: string, folder = new URL('native/', import.meta.url)): string {
  const source = fileURLToPath(new URL(`${name}.c`, folder));
  const directory = fileURLToPath(new URL('../../../../../build/test/', import.meta.url));
  const output = `${directory}${name}`;
  const built = statSync(output, { throwIfNoEntry: false });
  if (built !== undefined && built.mtimeMs > statSync(source).mtimeMs) return output;
  mkdirSync(directory, { recursive: true });
  const temporary = `${output}.${process.pid}`;
  execFileSync('cc', ['-std=gnu17', '-O2', '-Wall', '-Wextra', '-Werror', '-o', temporary, source]);
  renameSync(temporary, output);
  return output;
}
