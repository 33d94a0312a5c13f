/** Growth of the delays between attempts. */
export interface BackoffSettings {
  readonly firstMilliseconds: number;
  readonly maximumMilliseconds: number;
  /** Relative jitter in both directions, so that nodes do not reconnect at the same time. */
  readonly jitter: number;
}

/** Returns the delay after consecutive failures (1 is the first), without jitter: doubling, up to the maximum. */
export function doubledWait(settings: BackoffSettings, failures: number): number {
  return Math.min(settings.firstMilliseconds * 2 ** Math.min(failures - 1, 40), settings.maximumMilliseconds);
}

/** Applies jitter to a delay. `random` is uniform in [0, 1). */
export function spreadWait(settings: BackoffSettings, milliseconds: number, random: number): number {
  return milliseconds * (1 + settings.jitter * (2 * random - 1));
}

/** Returns the delay after consecutive failures with jitter, never above the maximum. */
export function backoffMilliseconds(settings: BackoffSettings, failures: number, random: number): number {
  const wait = spreadWait(settings, doubledWait(settings, failures), random);
  return Math.min(wait, settings.maximumMilliseconds);
}
