import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { xds } from '@kmesh/api';
import { commandOf, kmeshExecutable } from '@kmesh/lab';

/** A line of the daemon's log that a measurement uses. */
export type Mark = 'applied' | 'written';

const markTexts: Readonly<Record<Mark, string>> = {
  applied: `\txDS response applied\ttype=${JSON.stringify(xds.addressTypeUrl)}`,
  written: '\tkernel\tthe kernel tables follow the mesh',
};
const clockTicksPerSecond = 100;

/** An unmodified `kmesh proxy ztunnel`, observed through its log, its ports and /proc. */
export class MeasuredDaemon {
  readonly #child: ChildProcess;
  readonly #marks: Record<Mark, number[]> = { applied: [], written: [] };
  #lastMark = 0;
  #log = '';

  /** The daemon ends with the thread that starts it. */
  constructor(environment: Readonly<Record<string, string>>) {
    this.#child = spawn(
      'setpriv',
      [
        ...['--pdeathsig', 'KILL', 'chrt', '--other', '0'],
        ...commandOf(kmeshExecutable, 'proxy', 'ztunnel').flat(),
      ],
      {
        env: {
          PATH: process.env['PATH'],
          RUST_LOG: 'info,xds=debug,kernel=debug',
          ...environment,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let rest = '';
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#read(line);
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Times of a mark so far, in milliseconds. */
  marks(mark: Mark): readonly number[] {
    return this.#marks[mark];
  }

  /** Waits until neither mark has appeared for a second. @throws when the daemon ends first, or is never quiet. */
  async quiet(): Promise<void> {
    const begun = performance.now();
    this.#lastMark = begun;
    while (performance.now() - this.#lastMark < 1_000) {
      if (this.#child.exitCode !== null) throw new Error(`the daemon ended: ${this.#log}`);
      if (performance.now() - begun > 60_000)
        throw new Error(`the daemon does not come to rest: ${this.#log}`);
      await delay(50);
    }
  }

  /** A figure of /proc/PID/status in kB. */
  status(name: 'VmHWM' | 'VmRSS'): number {
    const text = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8');
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]);
  }

  /** CPU seconds of all its threads since its start. */
  cpuSeconds(): number {
    const text = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / clockTicksPerSecond;
  }

  /** Returns its metrics by name and labels. Resets the event loop's histogram. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    const answer = await fetch('http://127.0.0.1:15020/metrics');
    const lines = (await answer.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => {
        const space = line.lastIndexOf(' ');
        return [line.slice(0, space), Number(line.slice(space + 1))];
      }),
    );
  }

  /** Returns the longest delay of its event loop since the last read of the metrics, in milliseconds. */
  async longestDelay(): Promise<number> {
    const longest = (await this.metrics()).get('kmesh_event_loop_delay_seconds{quantile="1"}');
    if (longest === undefined) throw new Error('the daemon does not say how late its event loop was');
    return longest * 1000;
  }

  /** Reads an answer of the admin port to its end. Returns its length in bytes. */
  async admin(path: string): Promise<number> {
    const { body, status } = await fetch(`http://127.0.0.1:15000${path}`);
    if (status !== 200 || body === null) throw new Error(`${path} answered ${status}`);
    let bytes = 0;
    for await (const chunk of body) bytes += chunk.length;
    return bytes;
  }

  async adminJson(path: string): Promise<unknown> {
    return (await fetch(`http://127.0.0.1:15000${path}`)).json();
  }

  /** Resolves when the process has ended. */
  get ended(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) resolve();
      else this.#child.once('exit', () => resolve());
    });
  }

  /** Its other log lines. */
  get log(): string {
    return this.#log;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #read(line: string): void {
    for (const mark of ['applied', 'written'] as const) {
      if (!line.includes(markTexts[mark])) continue;
      this.#marks[mark].push(millisecondsOf(line));
      this.#lastMark = performance.now();
      return;
    }
    this.#log += `${line}\n`;
  }
}

/** The time at the beginning of a log line, microseconds included. */
export function millisecondsOf(text: string): number {
  const [second = '', fraction = ''] = text.slice(0, 27).split('.');
  return Date.parse(`${second}Z`) + Number(fraction.slice(0, 6)) / 1000;
}
