/**
 * Builds the single executable: `dist/kmesh`, and `dist/kmeshctl`, a second name of it. Inside are Node.js without its
 * debug symbols, the bundled sources, the programs of the threads, the native addons and the BPF objects.
 *
 * The same sources give the same bytes.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  globSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';
import { acceptCompiledCode, compileProgram, engineOptions } from './binary/compiled-code.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const work = join(root, 'build/binary');
const dist = join(root, 'dist');

/** One helper thread is enough for a control plane. */
const nodeOptions: readonly string[] = ['--v8-pool-size=1'];

const version = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;
const shared: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node26',
  format: 'cjs',
  minify: true,
  keepNames: true,
  legalComments: 'none',
  logLevel: 'warning',
  // Definitions of services that Kmesh does not have.
  external: ['@grpc/proto-loader'],
  // A node does not need the lab.
  alias: { '@kmesh/lab': './packages/kmesh/src/no-lab.ts' },
  banner: { js: "const kmeshModule=require('node:url').pathToFileURL(process.execPath).href;" },
  define: {
    'import.meta.url': 'kmeshModule',
    KMESH_VERSION: JSON.stringify(version),
    KMESH_GIT_REVISION: JSON.stringify(revision()),
  },
};

rmSync(work, { recursive: true, force: true });
mkdirSync(join(work, 'threads'), { recursive: true });
mkdirSync(dist, { recursive: true });

await bundle('packages/kmesh/src/executable.ts', 'main.js');
await bundle('packages/linux/src/carried-thread.ts', 'carried-thread.js');
const assets: Record<string, string> = { 'carried-thread.js': join(work, 'carried-thread.js') };
await program('packages/kmesh/src/run-main.ts', 'kmesh.js');
await program('packages/ctl/src/index.ts', 'kmeshctl.js');
for (const source of globSync('packages/*/src/**/*-worker.ts', { cwd: root }).sort())
  await program(source, `threads/${basename(source, '.ts')}.js`);
for (const addon of globSync('build/*.node', { cwd: root }).sort()) {
  const stripped = join(work, basename(addon));
  execFileSync('strip', ['--strip-unneeded', '-o', stripped, join(root, addon)]);
  assets[basename(addon)] = stripped;
}
for (const object of globSync('build/bpf/*.bpf.o', { cwd: root }).sort())
  assets[`bpf/${basename(object)}`] = join(root, object);

const node = join(work, 'node');
execFileSync('strip', ['-o', node, process.execPath]);
const config = join(work, 'sea.json');
writeFileSync(
  config,
  JSON.stringify({
    main: join(work, 'main.js'),
    mainFormat: 'commonjs',
    executable: node,
    output: join(work, 'kmesh'),
    disableExperimentalSEAWarning: true,
    useSnapshot: false,
    useCodeCache: false,
    execArgv: [...engineOptions, ...nodeOptions],
    execArgvExtension: 'env',
    assets,
  }),
);
execFileSync(process.execPath, ['--build-sea', config], { stdio: ['ignore', 'ignore', 'inherit'] });
acceptCompiledCode(join(work, 'kmesh'));
writeInPieces(join(work, 'kmesh'), join(dist, 'kmesh'));
rmSync(join(dist, 'kmeshctl'), { force: true });
symlinkSync('kmesh', join(dist, 'kmeshctl'));
console.log(`dist/kmesh: ${(statSync(join(dist, 'kmesh')).size / 1e6).toFixed(1)} MB`);

/** A bundle that `runCarriedProgram` runs, and what V8 compiled of it. */
async function program(source: string, name: string): Promise<void> {
  await bundle(source, name);
  const file = join(work, name);
  writeFileSync(file, `(function(exports,require,module){${readFileSync(file, 'latin1')}\n})`, 'latin1');
  compileProgram(file, `${file}.compiled`);
  assets[name] = file;
  assets[`${name}.compiled`] = `${file}.compiled`;
}

/** A list of the bundle's inputs, for the bill of materials. */
async function bundle(source: string, name: string): Promise<void> {
  const { metafile } = await build({
    ...shared,
    entryPoints: [source],
    outfile: join(work, name),
    metafile: true,
  });
  // With any other character V8 stores the whole text with two bytes per character.
  const text = readFileSync(join(work, name), 'latin1');
  const other = /[^\0-\x7f]+/.exec(text);
  if (other !== null)
    throw new Error(`build-binary: ${name} is not of ASCII characters alone: ${JSON.stringify(other[0])}`);
  writeFileSync(join(work, `${basename(name, '.js')}.meta.json`), JSON.stringify(metafile));
}

function revision(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

/**
 * Copies in small pieces, as a container runtime unpacks. If it is written at once, the page cache has it in pieces of
 * 2 MB, each of which counts as resident once an instruction in it runs.
 */
function writeInPieces(from: string, to: string): void {
  const bytes = readFileSync(from);
  rmSync(to, { force: true });
  const file = openSync(to, 'w', 0o755);
  for (let at = 0; at < bytes.length; at += 32_768)
    writeSync(file, bytes, at, Math.min(32_768, bytes.length - at));
  closeSync(file);
}
