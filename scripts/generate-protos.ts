/**
 * Generates the wire codecs of `packages/api/src/gen/` from `protos/`.
 *
 *     node scripts/generate-protos.ts            write the files
 *     node scripts/generate-protos.ts --check    fail when the files differ from what would be written
 *
 * One module for each protocol, because two packages declare a message `Address` with different meaning. Enums stay
 * numbers (an unknown number must be seen, not mapped to zero) and 64-bit fields become JavaScript numbers (the only
 * one is a lifetime in seconds).
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const outDirectory = join(root, 'packages/api/src/gen');
const compiler = createRequire(import.meta.url).resolve('protobufjs-cli/bin/pbjs');

const modules = [
  { name: 'discovery', source: 'discovery.proto' },
  { name: 'workload', source: 'workload.proto' },
  { name: 'authorization', source: 'authorization.proto' },
  { name: 'certificate', source: 'certificate.proto' },
  { name: 'zds', source: 'zds.proto' },
  { name: 'virtual-service', source: 'virtual_service.proto' },
];

const sharedOptions = [
  ...['--target', 'static-module', '--wrap', 'esm', '--es6'],
  ...['--no-verify', '--no-convert', '--no-delimited', '--no-typeurl', '--no-service', '--no-create'],
  '--force-number',
];

function compile(scratch: string, source: string, moduleName: string, options: readonly string[]): string {
  const out = join(scratch, `${moduleName}.js`);
  const argv = [compiler, ...sharedOptions, ...options];
  // A separate root for each module: roots are shared by name in a process, and these declare the same packages.
  argv.push(
    '--root',
    `kmesh_${moduleName}`,
    '--path',
    join(root, 'protos'),
    '--out',
    out,
    join(root, 'protos', source),
  );
  execFileSync(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  return out;
}

function generate(): Map<string, string> {
  const scratch = mkdtempSync(join(tmpdir(), 'kmesh-protos-'));
  try {
    const files = new Map<string, string>();
    for (const { name, source } of modules) {
      const note = `// Generated from protos/${source} by scripts/generate-protos.ts. Do not edit.\n`;
      // The declarations are generated from comments that the code does not need.
      compile(scratch, source, name, ['--dts']);
      const declarations = readFileSync(join(scratch, `${name}.d.ts`), 'utf8');
      files.set(`${name}.d.ts`, note + declarations.replace('import Long = require("long");\n', ''));
      const code = readFileSync(compile(scratch, source, name, ['--no-comments']), 'utf8');
      files.set(`${name}.js`, note + code);
    }
    return files;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

const files = generate();
if (process.argv.includes('--check')) {
  const stale = [...files].filter(([name, text]) => readIfPresent(join(outDirectory, name)) !== text);
  if (stale.length > 0) {
    console.error(`generated codecs differ from protos/: ${stale.map(([name]) => name).join(', ')}`);
    console.error('run: node scripts/generate-protos.ts');
    process.exit(1);
  }
} else {
  mkdirSync(outDirectory, { recursive: true });
  for (const [name, text] of files) writeFileSync(join(outDirectory, name), text);
}
