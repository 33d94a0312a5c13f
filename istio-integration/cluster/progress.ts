/** Progress of a command: a line per step with its duration, and between them a line that changes. */
export interface Progress {
  /** Shows the current action; on a terminal, in place of the previous one. */
  note(text: string): void;
  /** Writes a line that stays. */
  say(text: string): void;
  /** Runs a step, and writes one line with its name and duration. */
  step<T>(name: string, action: () => Promise<T>): Promise<T>;
}

/** Where lines go. */
interface Output {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** Minimum interval of notes that are separate lines. */
const QUIET_MS = 15_000;

/** Progress on standard error, so that standard output has only the command's result. */
export function startProgress(output: Output = process.stderr): Progress {
  const terminal = output.isTTY === true;
  let written = performance.now();
  return {
    note(text) {
      const now = performance.now();
      if (!terminal && now - written < QUIET_MS) return;
      if (terminal && now - written < 100) return;
      written = now;
      output.write(terminal ? `\r\u001b[K   ${text}` : `   ${text}\n`);
    },
    say(text) {
      output.write(`${terminal ? '\r\u001b[K' : ''}${text}\n`);
      written = performance.now();
    },
    async step(name, action) {
      const started = performance.now();
      const end = (mark: string): void => {
        const seconds = ((performance.now() - started) / 1000).toFixed(1);
        output.write(`${terminal ? '\r\u001b[K' : ''}${mark} ${name} (${seconds} s)\n`);
        written = performance.now();
      };
      if (terminal) output.write(`   ${name}`);
      try {
        const answer = await action();
        end('ok  ');
        return answer;
      } catch (error) {
        end('FAIL');
        throw error;
      }
    },
  };
}
