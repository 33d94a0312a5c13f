import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { KmeshError } from '@kmesh/api';
import { keepAlive } from './http.ts';

type Waiter = { resolve(answer: unknown): void; reject(error: Error): void };

/**
 * Sends lines to a helper program, which answers each with one JSON line, in order. Other lines are passed to
 * `onOther`.
 */
export class LineConversation {
  readonly #child: ChildProcess;
  readonly #waiters: Waiter[] = [];
  #ended: string | undefined;
  #errorText = '';
  #held = false;

  constructor(child: ChildProcess, what: string, onOther: (answer: unknown) => void = () => undefined) {
    this.#child = child;
    const { stdout, stderr, stdin } = child;
    if (stdout === null || stderr === null || stdin === null) throw new TypeError(`${what} needs pipes`);
    stdin.on('error', () => undefined);
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errorText += text;
    });
    createInterface({ input: stdout }).on('line', (line) => {
      const answer: unknown = JSON.parse(line);
      const waiter = isReport(answer) ? undefined : this.#waiters.shift();
      if (waiter === undefined) onOther(answer);
      else waiter.resolve(answer);
      this.#release();
    });
    keepAlive(child, false);
    child.once('error', (error) => this.#end(`cannot start ${what}: ${error.message}`));
    child.once('close', (code) => this.#end(`${what} ended with code ${code}: ${this.#errorText.trim()}`));
  }

  /** Sends a line and waits for its answer. @throws KMESH_LAB_PROGRAM_ENDED when the program ends before it answers. */
  ask(line: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(new KmeshError('KMESH_LAB_PROGRAM_ENDED', this.#ended));
        return;
      }
      this.#waiters.push({ resolve, reject });
      keepAlive(this.#child, true);
      this.#child.stdin?.write(`${line}\n`);
    });
  }

  /** Keeps this process alive until the program has ended. */
  hold(): void {
    this.#held = true;
    keepAlive(this.#child, true);
  }

  #release(): void {
    if (this.#waiters.length === 0 && !this.#held) keepAlive(this.#child, false);
  }

  #end(reason: string): void {
    this.#ended ??= reason;
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(new KmeshError('KMESH_LAB_PROGRAM_ENDED', reason));
    }
  }
}

function isReport(answer: unknown): boolean {
  return typeof answer === 'object' && answer !== null && 'report' in answer;
}
