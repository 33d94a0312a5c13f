import { globSync, readFileSync } from 'node:fs';

const id = '[A-Z]{3}-\\d{2}(?!\\d)';

/** Returns the conformance ids in `text`; `A-01 to A-03` stands for all from the first to the last. */
export function conformanceIds(text: string): string[] {
  return [...text.matchAll(new RegExp(`(${id})(?: to (${id}))?`, 'g'))].flatMap(
    ([, first = '', last = first]) => {
      const [area, from] = first.split('-');
      const count = Number(last.split('-')[1]) - Number(from) + 1;
      return Array.from(
        { length: count },
        (_, index) => `${area}-${String(Number(from) + index).padStart(2, '0')}`,
      );
    },
  );
}

/** Returns the test files by the conformance ids that lead the names of their tests. */
export function conformanceTests(): Map<string, string[]> {
  const tests = new Map<string, string[]>();
  // The name may be in a table of cases: a text that begins with ids and continues after a colon, or ends.
  const leading = new RegExp(`['"\`](${id}(?:(?:, | and | to )${id})*)(?=['"\`:])`, 'g');
  for (const file of globSync([
    'packages/*/test/**/*.ts',
    'test/**/*.ts',
    'bench/**/*.test.ts',
    'istio-integration/cluster/cases/*.ts',
  ]).sort()) {
    if (file.startsWith('test/structure/')) continue;
    for (const [, ids = ''] of readFileSync(file, 'utf8').matchAll(leading)) {
      for (const one of conformanceIds(ids)) {
        const files = tests.get(one) ?? [];
        if (!files.includes(file)) tests.set(one, [...files, file]);
      }
    }
  }
  return tests;
}
