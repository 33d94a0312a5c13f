import { KmeshError } from '@kmesh/api';

/** The environment as `process.env` has it; tests bring their own. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The error of a bad setting: names the setting, its value and what is allowed.
 * Code `KMESH_CONFIG_INVALID`.
 */
export function configError(setting: string, value: string, allowed: string): KmeshError {
  return new KmeshError(
    'KMESH_CONFIG_INVALID',
    `${setting}=${JSON.stringify(value)} is not valid: ${allowed}`,
  );
}

/** `true` or `false`, nothing else (ambient contract T11). */
export function booleanSetting(environment: Environment, name: string, byDefault: boolean): boolean {
  return optionalBoolean(environment, name) ?? byDefault;
}

/** As {@link booleanSetting}, with `undefined` for an unset variable. */
export function optionalBoolean(environment: Environment, name: string): boolean | undefined {
  const text = environment[name];
  if (text === undefined) return undefined;
  if (text === 'true') return true;
  if (text === 'false') return false;
  throw configError(name, text, 'only the words true and false are allowed');
}

/** A whole number between `minimum` and `maximum`, both allowed. */
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

/** What a number that a ztunnel takes is limited to here, and where to say that it was. */
interface SizeLimits {
  readonly byDefault: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly warnings: string[];
}

/** A 32-bit size. One that HTTP/2 does not allow becomes the nearest that it does, with a warning. */
export function sizeSetting(environment: Environment, name: string, limits: SizeLimits): number {
  const { byDefault, minimum, maximum, warnings } = limits;
  const asked = integerSetting(environment, name, byDefault, 0, 0xffff_ffff);
  const used = Math.min(maximum, Math.max(minimum, asked));
  if (used !== asked) warnings.push(`${name}=${asked} is not possible in HTTP/2; ${used} is used instead`);
  return used;
}

/** Milliseconds of each unit, with the spellings that ztunnel's parser takes. */
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

/** The longest duration: what every timer and socket option that one ends up in can take. */
const longestDuration = 100 * 31_536_000_000;

/**
 * A duration such as `5m`, `1h30m`, `2 hours`, `1w`, `1m*10` or `250ms`, in milliseconds, at least 1 unless it is
 * 0. A number without a unit is in seconds; `+` or nothing adds, `*` multiplies what is before it.
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

/** A duration setting, in milliseconds. */
export function durationSetting(environment: Environment, name: string, byDefault: number): number {
  const text = environment[name];
  return text === undefined ? byDefault : parseDuration(name, text);
}

/** Longest wait of a timer of Node.js, in milliseconds (24.8 days); a longer one would end at once. */
const longestTimer = 0x7fff_ffff;

/** As {@link durationSetting}, for what a timer waits: longer ones end after 24.8 days. */
export function timerSetting(environment: Environment, name: string, byDefault: number): number {
  return Math.min(longestTimer, durationSetting(environment, name, byDefault));
}

const quantitySuffixes: Readonly<Record<string, number>> = { n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3 };

/** A Kubernetes CPU quantity (`500m`, `1.5`, `2`, `2e0`) as a number of CPUs, rounded up. */
export function cpuQuantity(name: string, text: string): number {
  const match = /^\+?(\d+\.?\d*|\.\d+)(?:([numk]?)|[eE]([+-]?\d{1,2}))$/.exec(text);
  if (match === null) throw configError(name, text, 'a CPU quantity such as 500m, 1.5 or 2 is allowed');
  const [, amount, suffix = '', exponent = '0'] = match;
  const cpus = Number(`${amount}e${exponent}`) * (quantitySuffixes[suffix] ?? 1);
  return Math.ceil(Math.round(cpus * 1e9) / 1e9);
}

/** Text of a variable where the empty text means unset. */
export function textSetting(environment: Environment, name: string): string | undefined {
  const text = environment[name];
  return text === undefined || text === '' ? undefined : text;
}
