import { KmeshError } from '@kmesh/api';

/** An environment such as `process.env`; tests pass their own. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the error of an invalid setting, code `KMESH_CONFIG_INVALID`, naming the setting, its value and the allowed
 * values.
 */
export function configError(setting: string, value: string, allowed: string): KmeshError {
  return new KmeshError(
    'KMESH_CONFIG_INVALID',
    `${setting}=${JSON.stringify(value)} is not valid: ${allowed}`,
  );
}

/** Reads a boolean; only `true` and `false` are allowed (ambient contract T11). */
export function booleanSetting(environment: Environment, name: string, byDefault: boolean): boolean {
  return optionalBoolean(environment, name) ?? byDefault;
}

/** As {@link booleanSetting}, but returns `undefined` for an unset variable. */
export function optionalBoolean(environment: Environment, name: string): boolean | undefined {
  const text = environment[name];
  if (text === undefined) return undefined;
  if (text === 'true') return true;
  if (text === 'false') return false;
  throw configError(name, text, 'only the words true and false are allowed');
}

/** Reads a whole number from `minimum` to `maximum`, inclusive. */
export function integerSetting(
  environment: Environment,
  name: string,
  byDefault: number,
  minimum: number,
  maximum: number,
): number {
  const text = environment[name];
  if (text === undefined) return byDefault;
  const value = Number(text);
  if (!/^\+?\d+$/.test(text) || value < minimum || value > maximum) {
    throw configError(name, text, `a whole number from ${minimum} to ${maximum} is allowed`);
  }
  return value;
}

/** Default and limits of a size, and the list that a warning is added to. */
interface SizeLimits {
  readonly byDefault: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly warnings: string[];
}

/** Reads a 32-bit size. A size outside the limits of HTTP/2 is replaced by the nearest limit, with a warning. */
export function sizeSetting(environment: Environment, name: string, limits: SizeLimits): number {
  const { byDefault, minimum, maximum, warnings } = limits;
  const asked = integerSetting(environment, name, byDefault, 0, 0xffff_ffff);
  const used = Math.min(maximum, Math.max(minimum, asked));
  if (used !== asked) warnings.push(`${name}=${asked} is not possible in HTTP/2; ${used} is used instead`);
  return used;
}

/** Milliseconds of each unit, with the spellings that ztunnel's parser accepts. */
const durationUnits: readonly (readonly [milliseconds: number, spellings: string])[] = [
  [1e-6, 'ns nsec nanosecond nanoseconds'],
  [1e-3, 'us \u00b5s \u03bcs usec \u00b5sec microsecond microseconds'],
  [1, 'ms msec millisecond milliseconds'],
  [1_000, 's sec secs second seconds'],
  [60_000, 'm min mins minute minutes'],
  [3_600_000, 'h hr hrs hour hours'],
  [86_400_000, 'd day days'],
  [604_800_000, 'w week weeks'],
  [2_592_000_000, 'mon month months'],
  [31_536_000_000, 'y year years'],
];

const unitMilliseconds: ReadonlyMap<string, number> = new Map(
  durationUnits.flatMap(([milliseconds, spellings]) =>
    spellings.split(' ').map((spelling) => [spelling, milliseconds]),
  ),
);

/** Longest duration: every timer and socket option can represent it. */
const longestDuration = 100 * 31_536_000_000;

/**
 * Parses a duration such as `5m`, `1h30m`, `2 hours`, `1w`, `1m*10` or `250ms` to milliseconds, at least 1 unless it
 * is 0. A number without a unit is in seconds; `+` or nothing adds, `*` multiplies the sum so far.
 */
export function parseDuration(name: string, text: string): number {
  const allowed = 'a duration such as 5m, 180s, 1h30m, 2 hours, 1w, 250ms or a number of seconds is allowed';
  const whole = text.trim();
  const parts = [...whole.matchAll(/\s*([+*]?)\s*(\d+)\s*([a-z\u00b5\u03bc]*)/giy)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== whole || whole.startsWith('*'))
    throw configError(name, text, allowed);
  let sum = 0;
  for (const [, operator, amount, unit = ''] of parts) {
    const milliseconds = unit === '' ? 1_000 : unitMilliseconds.get(unit.toLowerCase());
    if (milliseconds === undefined) throw configError(name, text, allowed);
    const part = Number(amount) * milliseconds;
    sum = operator === '*' ? (sum * part) / 1_000 : sum + part;
  }
  if (sum > longestDuration) throw configError(name, text, 'at most 100 years are allowed');
  return Math.ceil(Math.round(sum * 1e6) / 1e6);
}

/** Reads a duration, in milliseconds. */
export function durationSetting(environment: Environment, name: string, byDefault: number): number {
  const text = environment[name];
  return text === undefined ? byDefault : parseDuration(name, text);
}

/** Longest delay of a Node.js timer, in milliseconds (24.8 days); a longer one would fire at once. */
const longestTimer = 0x7fff_ffff;

/** As {@link durationSetting}, for timers: limited to 24.8 days. */
export function timerSetting(environment: Environment, name: string, byDefault: number): number {
  return Math.min(longestTimer, durationSetting(environment, name, byDefault));
}

const quantitySuffixes: Readonly<Record<string, number>> = { n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3 };

/** Parses a Kubernetes CPU quantity (`500m`, `1.5`, `2`, `2e0`) to a number of CPUs, rounded up. */
export function cpuQuantity(name: string, text: string): number {
  const match = /^\+?(\d+\.?\d*|\.\d+)(?:([numk]?)|[eE]([+-]?\d{1,2}))$/.exec(text);
  if (match === null) throw configError(name, text, 'a CPU quantity such as 500m, 1.5 or 2 is allowed');
  const [, amount, suffix = '', exponent = '0'] = match;
  const cpus = Number(`${amount}e${exponent}`) * (quantitySuffixes[suffix] ?? 1);
  return Math.ceil(Math.round(cpus * 1e9) / 1e9);
}

/** Reads a text; the empty text means unset. */
export function textSetting(environment: Environment, name: string): string | undefined {
  const text = environment[name];
  return text === undefined || text === '' ? undefined : text;
}
