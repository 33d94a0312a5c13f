import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { findCgroupMount, type NetworkNamespace } from '@kmesh/linux';

const nativeFolder = new URL('native/', import.meta.url);
const outputFolder = fileURLToPath(new URL('../../build/bench/', import.meta.url));

/** A cgroup for the scope of a `using` block, with the processes added to it. */
export class ScratchCgroup implements Disposable {
  readonly path: string;

  constructor() {
    const mount = findCgroupMount();
    if (mount === undefined) throw new Error('no cgroup v2 mount');
    this.path = `${mount}/kmesh-bench-${process.pid}`;
    mkdirSync(this.path);
  }

  add(pid: number): void {
    writeFileSync(`${this.path}/cgroup.procs`, `${pid}`);
  }

  [Symbol.dispose](): void {
    rmdirSync(this.path);
  }
}

/** The process that dials; see native/dial-random.c. */
export class Driver implements AsyncDisposable {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(namespace: NetworkNamespace, cgroup: ScratchCgroup) {
    const program = `${outputFolder}dial-random`;
    mkdirSync(outputFolder, { recursive: true });
    execFileSync('cc', ['-std=gnu17', '-O2', '-Wall', '-Werror', '-o', program, sourceOf('dial-random.c')]);
    this.#process = spawn(program, [namespace.path], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
    if (this.#process.pid === undefined) throw new Error('dial-random did not start');
    cgroup.add(this.#process.pid);
  }

  /** Dials `connects` times, each time one of `services` services whose addresses are `step` apart. */
  async dial(services: number, step: number, connects: number): Promise<void> {
    this.#process.stdin.write(`${services} ${step} ${connects}\n`);
    const line = await this.#lines.next();
    const [, failed] = String(line.value).split(' ').map(Number);
    if (line.done === true || failed !== 0) throw new Error(`dial-random: ${failed} connects failed`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.stdin.end();
    await ended;
  }
}

function sourceOf(file: string): string {
  return fileURLToPath(new URL(file, nativeFolder));
}
