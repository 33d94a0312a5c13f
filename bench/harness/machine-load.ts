/** Whether other programs use the machine, which makes every figure of a suite noise. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Share of the CPUs in use before a suite, above which its results are marked as those of a busy machine. */
export const MOST_IN_USE = 0.1;

/** Duration of one measurement; /proc/stat has a resolution of 10 ms per CPU. */
const LOOK_MILLISECONDS = 300;

/** Maximum number of measurements. */
const LOOKS = 20;

/** Returns the share of the CPUs that is in use now, from 0 to 1. Call it while no suite runs. */
async function shareInUse(): Promise<number> {
  const before = readFileSync('/proc/stat', 'utf8');
  await sleep(LOOK_MILLISECONDS);
  return shareBetween(before, readFileSync('/proc/stat', 'utf8'));
}

/**
 * Waits until the machine is at rest, at most some seconds: the suite before may have left work to the kernel. Returns the
 * last measured share, which is above {@link MOST_IN_USE} if other programs use the machine.
 */
export async function settledShare(): Promise<number> {
  for (let look = 1; ; look++) {
    const share = await shareInUse();
    if (share <= MOST_IN_USE || look === LOOKS) return share;
  }
}

/** Returns the share in use between two readings of /proc/stat. Time that the hypervisor gave to others is in use. */
export function shareBetween(before: string, after: string): number {
  const [earlier, later] = [cpuTimes(before), cpuTimes(after)];
  const passed = later.all - earlier.all;
  return passed === 0 ? 0 : 1 - (later.idle - earlier.idle) / passed;
}

/** Sums of all CPUs. Guests' time, the ninth and tenth number, is also in the first two. */
function cpuTimes(stat: string): { readonly all: number; readonly idle: number } {
  const numbers = (stat.split('\n')[0] ?? '').split(/\s+/).slice(1, 9).map(Number);
  const [, , , idle = 0, waiting = 0] = numbers;
  return { all: numbers.reduce((sum, number) => sum + number, 0), idle: idle + waiting };
}
