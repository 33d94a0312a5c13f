/**
 * Fills in the column "Tested in" of docs/conformance.md from the names of the tests. `--check` writes nothing and
 * fails when the committed file differs.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { conformanceTests } from './conformance-ids.ts';

const path = 'docs/conformance.md';
const tests = conformanceTests();
const before = readFileSync(path, 'utf8');
const after = before.replaceAll(
  /^(\| ([A-Z]{3}-\d{2}) (?:\|[^|\n]*){2})\|[^|\n]*\|$/gm,
  (_row, start, id) => {
    const files = (tests.get(id) ?? []).map(
      (file) => `\`${file.replace(/^packages\/|(?:\.test)?\.ts$/g, '')}\``,
    );
    return `${start}| ${files.join(', ') || '–'} |`;
  },
);
if (!process.argv.includes('--check')) writeFileSync(path, after);
else if (after !== before) {
  console.error(`generate-conformance: ${path} differs from the names of the tests; run: npm run generate`);
  process.exitCode = 1;
}
