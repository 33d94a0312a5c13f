import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { scripts, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>;
  version: string;
};

for (const page of ['docs/install.md', 'docs/operate.md']) {
  const text = readFileSync(join(root, page), 'utf8');

  test(`${page}: every npm command is a script, every file is there, every image is of this version`, () => {
    for (const [, script = ''] of text.matchAll(/npm run ([a-z:]+)/g)) assert.ok(script in scripts, script);
    for (const [, path = ''] of text.matchAll(/((?:istio-integration|docs)\/[a-z0-9./-]+\.(?:yaml|md))/g))
      assert.ok(existsSync(join(root, path)), path);
    for (const [, path = ''] of text.matchAll(/`((?:manifests|values)\/[a-z0-9.-]+)`/g))
      assert.ok(existsSync(join(root, 'istio-integration', path)), path);
    for (const [, tag] of text.matchAll(/kmesh\/kmesh:([0-9.]+)/g)) assert.equal(tag, version);
  });

  test(`${page}: every quoted setting and log line is in the sources`, () => {
    const sources = globSync(join(root, 'packages/*/src/**/*.ts'))
      .map((file) => readFileSync(file, 'utf8'))
      .join('\n');
    for (const [, setting = ''] of text.matchAll(/`(KMESH_[A-Z_]+)(?:=[a-z]+)?`/g))
      assert.ok(sources.includes(setting), setting);
    for (const line of [
      'no kernel path: every connection takes the tunnel path',
      'workload proxy manager',
      'no file can be made in',
    ])
      if (text.includes(line)) assert.ok(sources.includes(line), line);
  });
}
