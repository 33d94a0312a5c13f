import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Output of a program, line by line. */
export interface Lines {
  /** Returns the next line; fails at the end of the output. */
  next(): Promise<string>;
}

export function linesOf({ stdout }: ChildProcess): Lines {
  if (stdout === null) throw new Error('its standard output is not read');
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return {
    async next() {
      const line = await lines.next();
      if (line.done === true) throw new Error('the program ended');
      return line.value;
    },
  };
}
