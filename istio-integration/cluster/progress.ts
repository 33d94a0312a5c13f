/** What a person sees of a command: a line per step with its time, and between them a line that changes. */
export interface Progress {
  /** Names what is done now; on a terminal only, over the line before. */
  note(text: string): void;
  /** Writes a line that stays. */
  say(text: string): void;
  /** Runs a step, and writes one line with what it was and how long it took. */
  step<T>(name: string, action: () => Promise<T>): Promise<T>;
}

/** Where lines go. */
interface Output {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** A note is written no more often than this where each is a line of its own. */
const QUIET_MS = 15_000;

/** Progress on standard error, so that what a command answers is alone on its standard output. */
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
