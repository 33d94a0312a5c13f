/** Progress of a run. */
interface Place {
  readonly suite: string;
  readonly at: number;
  readonly of: number;
  /** Current step of the suite; empty if the suite does not report it. */
  readonly what: string;
  /** Seconds. */
  readonly left: number;
}

/**
 * Returns the seconds until the run ends: the rest of the running suite, by its reported progress if any, and the
 * others.
 */
export function secondsLeft(run: {
  readonly expected: readonly number[];
  readonly at: number;
  readonly part: number;
  readonly elapsed: number;
}): number {
  const { expected, at, part, elapsed } = run;
  const planned = Math.max(0, (expected[at] ?? 0) - elapsed);
  // Early on, the planned duration is the better estimate.
  const current = part > 0.2 ? (elapsed / part) * (1 - part) : planned;
  return current + expected.slice(at + 1).reduce((sum, seconds) => sum + seconds, 0);
}

/** `bench: twonodes, round 2 of 5; suite 2 of 13; about 14 min left` */
export function progressLine({ suite, at, of, what, left }: Place): string {
  const time = left < 90 ? `${Math.max(1, Math.ceil(left / 10)) * 10} s` : `${Math.round(left / 60)} min`;
  return `bench: ${suite}${what === '' ? '' : `, ${what}`}; suite ${at} of ${of}; about ${time} left`;
}

/** Shows progress on standard error: on a terminal one changing line, else a line for each new step. */
export function startProgress(): { show(place: Place): void; clear(): void } {
  const terminal = process.stderr.isTTY;
  let last = '';
  return {
    show(place) {
      const line = progressLine(place);
      const news = `${place.suite}, ${place.what}`;
      if (terminal) process.stderr.write(`\r\u001b[K${line}`);
      else if (news !== last) console.error(line);
      last = news;
    },
    clear() {
      if (terminal) process.stderr.write('\r\u001b[K');
    },
  };
}
