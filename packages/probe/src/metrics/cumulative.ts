import { Counter, type Registry } from 'prom-client';

/** A prom-client counter whose value somebody else keeps: read at each scrape. */
export function addCumulativeCounter(
  registry: Registry,
  name: string,
  help: string,
  read: () => number,
): void {
  const counter: Counter = new Counter({
    name,
    help,
    registers: [registry],
    collect: () => advance(read()),
  });
  const advance = follower((by) => counter.inc(by));
}

/**
 * Turns readings of a cumulative value into increases. A reading below the last one means that its keeper began anew
 * (a program loaded again): what was counted before stays counted.
 */
export function follower(increase: (by: number) => void): (value: number) => void {
  let seen = 0;
  return (value) => {
    increase(value >= seen ? value - seen : value);
    seen = value;
  };
}
