import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('native/paced-echo.c', import.meta.url));
const folder = fileURLToPath(new URL('../../build/bench/', import.meta.url));
const program = `${folder}paced-echo`;
let compiled = false;

/** Something that began and took a while: a message through the proxy, or a scrape. */
export interface Sample {
  /** Microseconds of CLOCK_MONOTONIC. */
  readonly start: number;
  /** Microseconds until the whole answer was there. */
  readonly latency: number;
  /** Of a scrape: its size. */
  readonly bytes: number;
}

/** A process that stands for other machines; see native/paced-echo.c. */
export interface PacedEcho {
  readonly process: ChildProcess;
  /** The next line of its output. */
  line(): Promise<string>;
}

/** How a program is started: here, or in a pod. */
export type Spawn = (command: string, args: readonly string[], options: SpawnOptions) => ChildProcess;

/** Starts paced-echo with its arguments. */
export function startPacedEcho(args: readonly string[], run: Spawn = spawn): PacedEcho {
  if (!compiled) {
    mkdirSync(folder, { recursive: true });
    execFileSync('cc', ['-std=gnu17', '-O2', '-Wall', '-Werror', '-o', program, source]);
    compiled = true;
  }
  const child = run(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  if (child.stdout === null) throw new Error('paced-echo did not start');
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    process: child,
    async line() {
      const next = await lines.next();
      if (next.done) throw new Error('paced-echo ended early');
      return next.value;
    },
  };
}

/** One round of a client or of a scraper: its input, and what it measured. */
export async function drive(driver: PacedEcho, ...input: readonly number[]): Promise<Sample[]> {
  driver.process.stdin?.write(`${input.join(' ')}\n`);
  const samples: Sample[] = [];
  for (;;) {
    const line = await driver.line();
    if (line === '') return samples;
    const [start = 0, latency = 0, bytes = 0] = line.split(' ').map(Number);
    samples.push({ start, latency, bytes });
  }
}
