import assert from 'node:assert/strict';
import type { AccessLine } from '../../mesh/proxy-output.ts';

/** Fails unless a line has all of `expected`; `undefined` there means that a field is absent. */
export function assertFields(
  line: AccessLine | undefined,
  expected: Readonly<Record<string, string | RegExp | undefined>>,
): void {
  assert.ok(line, 'a line of the access log');
  const { fields } = line;
  for (const [name, value] of Object.entries(expected)) {
    if (value instanceof RegExp) assert.match(fields[name] ?? '', value, name);
    else assert.equal(fields[name], value, `${name} in ${JSON.stringify(fields)}`);
  }
}
