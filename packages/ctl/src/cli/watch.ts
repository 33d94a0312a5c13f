import { setTimeout as delay } from 'node:timers/promises';
import { KmeshError } from '@kmesh/api';

/** How {@link repeat} repeats. */
interface RepeatOptions {
  readonly seconds: number;
  /** Draws over the last output, where that is a terminal. */
  readonly clear: boolean;
  /** Ends it; Ctrl-C does too. */
  readonly signal?: AbortSignal;
}

const shortestSeconds = 0.1;

/**
 * Prints what `look` gives, again and again, until Ctrl-C. An answer that fails once it has worked is told and waited out: a
 * daemon that restarts is what one wants to watch.
 *
 * @throws KMESH_USAGE for an interval that is too short; what the first `look` throws
 */
export async function repeat(
  look: () => Promise<string>,
  print: (text: string) => void,
  options: RepeatOptions,
): Promise<void> {
  if (!(options.seconds >= shortestSeconds)) {
    throw new KmeshError('KMESH_USAGE', `--interval must be at least ${shortestSeconds} seconds`);
  }
  const interrupted = new AbortController();
  const stop = (): void => interrupted.abort();
  const signals = options.signal === undefined ? [interrupted.signal] : [interrupted.signal, options.signal];
  const signal = AbortSignal.any(signals);
  const over = options.clear && process.stdout.isTTY === true;
  process.on('SIGINT', stop);
  try {
    let text = await look();
    while (!signal.aborted) {
      print(over ? `\x1b[H${text.replaceAll('\n', '\x1b[K\n')}\x1b[J` : text);
      await delay(options.seconds * 1000, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      text = await look().catch(
        (error: unknown) => `${error instanceof Error ? error.message : String(error)}\n`,
      );
    }
  } finally {
    process.off('SIGINT', stop);
  }
}
