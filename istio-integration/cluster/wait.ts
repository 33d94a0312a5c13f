import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits until `probe` answers something other than `undefined`, and returns that. Fails with `what` and the last answer of
 * `state` when it takes longer than `limitMs`.
 */
export async function waitUntil<T>(
  what: string,
  limitMs: number,
  probe: () => T | undefined | Promise<T | undefined>,
  { everyMs = 20, state = () => '' }: { readonly everyMs?: number; readonly state?: () => string } = {},
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const answer = await probe();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) {
      const last = state();
      throw new Error(`${what}: not within ${limitMs / 1000} s${last === '' ? '' : `; last seen: ${last}`}`);
    }
    await delay(everyMs);
  }
}
