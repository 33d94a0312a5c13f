import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('native/paced-echo.c', import.meta.url));
const folder = fileURLToPath(new URL('../../build/bench/', import.meta.url));
const program = `${folder}paced-echo`;
let compiled = false;

/** A timed operation: a message through the proxy, or a scrape. */
export interface Sample {
  /** Microseconds of CLOCK_MONOTONIC. */
  readonly start: number;
  /** Microseconds until the whole answer was there. */
  readonly latency: number;
  /** Of a scrape: its size. */
  readonly bytes: number;
}

/** A process that represents other machines; see native/paced-echo.c. */
export interface PacedEcho {
  readonly process: ChildProcess;
  /** Returns its output up to the next `end`, exclusive. */
  until(end: string): Promise<string>;
}

/** Starts a program: here, or in a pod. */
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
  const pieces = child.stdout.setEncoding('utf8')[Symbol.asyncIterator]();
  let text = '';
  return {
    process: child,
    async until(end) {
      for (;;) {
        const at = text.indexOf(end);
        if (at >= 0) {
          const before = text.slice(0, at);
          text = text.slice(at + end.length);
          return before;
        }
        const next = await pieces.next();
        if (next.done) throw new Error('paced-echo ended early');
        text += next.value;
      }
    },
  };
}

/** Runs one round of a client or a scraper with the given input. Returns its measurements. */
export async function drive(driver: PacedEcho, ...input: readonly number[]): Promise<Sample[]> {
  driver.process.stdin?.write(`${input.join(' ')}\n`);
  const output = await driver.until('\n\n');
  return output.split('\n').map((line) => {
    const [start = 0, latency = 0, bytes = 0] = line.split(' ').map(Number);
    return { start, latency, bytes };
  });
}
