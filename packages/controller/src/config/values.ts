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
  if (!/^\d+$/.test(text) || value < minimum || value > maximum) {
    throw configError(name, text, `a whole number from ${minimum} to ${maximum} is allowed`);
  }
  return value;
}

const unitMilliseconds: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** A duration such as `5m`, `180s`, `1h30m`, `250ms`, in milliseconds. */
export function parseDuration(name: string, text: string): number {
  const parts = [...text.matchAll(/(\d+)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== text) {
    throw configError(name, text, 'a duration such as 5m, 180s, 1h30m or 250ms is allowed');
  }
  return parts.reduce(
    (sum, [, amount, unit]) => sum + Number(amount) * (unitMilliseconds[unit ?? 's'] ?? 0),
    0,
  );
}

/** A duration setting, in milliseconds. */
export function durationSetting(environment: Environment, name: string, byDefault: number): number {
  const text = environment[name];
  return text === undefined ? byDefault : parseDuration(name, text);
}

/** A Kubernetes CPU quantity (`500m`, `1.5`, `2`) as a number of CPUs, rounded up. */
export function cpuQuantity(name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(m?)$/.exec(text);
  if (match === null) throw configError(name, text, 'a CPU quantity such as 500m, 1.5 or 2 is allowed');
  return Math.ceil(Number(match[1]) / (match[2] === 'm' ? 1000 : 1));
}

/** Text of a variable where the empty text means unset. */
export function textSetting(environment: Environment, name: string): string | undefined {
  const text = environment[name];
  return text === undefined || text === '' ? undefined : text;
}
