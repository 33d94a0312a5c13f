/** How the waits between attempts grow. */
export interface BackoffSettings {
  readonly firstMilliseconds: number;
  readonly maximumMilliseconds: number;
  /** Share by which a wait may be longer or shorter, so that nodes do not come all at once. */
  readonly jitter: number;
}

/** The wait after the `failures`-th failure in a row (1 is the first) before it is spread: doubling, up to the maximum. */
export function doubledWait(settings: BackoffSettings, failures: number): number {
  return Math.min(settings.firstMilliseconds * 2 ** Math.min(failures - 1, 40), settings.maximumMilliseconds);
}

/** A wait, longer or shorter by up to the jitter. `random` is uniform in [0, 1). */
export function spreadWait(settings: BackoffSettings, milliseconds: number, random: number): number {
  return milliseconds * (1 + settings.jitter * (2 * random - 1));
}

/** The wait after the `failures`-th failure in a row, spread, and never above the maximum. */
export function backoffMilliseconds(settings: BackoffSettings, failures: number, random: number): number {
  const wait = spreadWait(settings, doubledWait(settings, failures), random);
  return Math.min(wait, settings.maximumMilliseconds);
}
