import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { conformanceIds, conformanceTests } from '../../scripts/conformance-ids.ts';

const sourcePatterns = [
  'packages/*/{src,test,native}/**/*.{ts,cc,h}',
  '{test,scripts,bench}/**/*.ts',
  'bpf/*.{c,h}',
];

test('every section of the contract that a source cites exists', () => {
  const contract = readFileSync('docs/contract.md', 'utf8');
  const sections = new Set([...contract.matchAll(/^##+ (\d+(?:\.\d+)?) /gm)].map(([, number]) => number));
  let citations = 0;
  const missing: string[] = [];
  for (const file of globSync([...sourcePatterns, 'docs/conformance.md'])) {
    // A citation may be broken over two lines of a comment.
    const text = readFileSync(file, 'utf8').replaceAll(/\n\s*(?:\*|\/\/)?\s*/g, ' ');
    const cited = text.matchAll(
      /contract(?:\.md)?(?:,? sections?)? (\d+(?:\.\d+)?(?:(?:, | and |, and )\d+(?:\.\d+)?)*)/g,
    );
    for (const [, list = ''] of cited) {
      for (const [number] of list.matchAll(/\d+(?:\.\d+)?/g)) {
        citations += 1;
        if (!sections.has(number)) missing.push(`${file}: contract ${number}`);
      }
    }
  }
  assert.deepEqual(missing, []);
  assert.ok(citations > 200, `only ${citations} citations found: the pattern no longer fits`);
});

const conformance = readFileSync('docs/conformance.md', 'utf8');
const endings = readFileSync('docs/endings.md', 'utf8');
const rows = [...`${conformance}\n${endings}`.matchAll(/^\| ([A-Z]{3}-\d{2}) \|/gm)].map(([, id = '']) => id);
const [, exceptions = ''] = /^## Rows without a test\n([^#]*)/m.exec(conformance) ?? [];
const untested = conformanceIds(exceptions);
const tests = conformanceTests();

test('every row of the conformance checklist has a test, or a reason for having none', () => {
  assert.ok(rows.length > 400 && untested.length > 0, 'docs/conformance.md cannot be read');
  assert.deepEqual(
    rows.filter((id) => !tests.has(id) && !untested.includes(id)),
    [],
  );
});

test('the reasons for rows without a test name only existing rows without a test', () => {
  assert.deepEqual(
    untested.filter((id) => tests.has(id) || !rows.includes(id)),
    [],
  );
});

test('every conformance id that begins the name of a test, or that a source cites, is in the checklist once', () => {
  const strangers = [...tests]
    .filter(([id]) => !rows.includes(id))
    .map(([id, files]) => `${id}: ${files.join(', ')}`);
  assert.deepEqual(strangers, []);
  const cited = globSync(sourcePatterns).flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/conformance ((?:[A-Z]{3}-\d{2}(?:, | and | to )?)+)/g)].flatMap(
      ([, ids = '']) => conformanceIds(ids).map((id) => ({ file, id })),
    ),
  );
  assert.deepEqual(
    cited.filter(({ id }) => !rows.includes(id)),
    [],
  );
  assert.deepEqual(
    rows.filter((id, index) => rows.indexOf(id) !== index),
    [],
  );
});
