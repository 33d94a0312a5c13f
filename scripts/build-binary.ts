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

const root = fileURLToPath(new URL('..', import.meta.url));
const work = join(root, 'build/binary');
const dist = join(root, 'dist');

/**
 * Options of V8 and Node.js, which count only from the start of a process; `NODE_OPTIONS` adds to them. A small young
 * generation keeps single collections short; one helper thread is enough for a control plane; `gc` is called once, when
 * the start is over; V8's built-in functions stay where they are in the file, and not in a copy for each thread.
 */
const engineOptions: readonly string[] = [
  '--max-semi-space-size=4',
  '--expose-gc',
  '--no-short-builtin-calls',
];
const nodeOptions: readonly string[] = ['--v8-pool-size=1'];

/** With these V8 compiles the same sources to the same bytes. The executable itself must not run with known seeds. */
const fixedSeeds: readonly string[] = ['--hash-seed=1', '--random-seed=1'];

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
  // Of services that Kmesh does not offer.
  external: ['@grpc/proto-loader'],
  // The lab is no part of what a node needs.
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

const threads = globSync('packages/*/src/**/*-worker.ts', { cwd: root }).sort();
await bundle('packages/kmesh/src/executable.ts', 'main.js');
const assets: Record<string, string> = { 'kmeshctl.js': join(work, 'kmeshctl.js') };
await bundle('packages/ctl/src/index.ts', 'kmeshctl.js');
for (const source of threads) {
  const name = `threads/${basename(source, '.ts')}.js`;
  await bundle(source, name);
  assets[name] = join(work, name);
}
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
    useCodeCache: true,
    execArgv: [...engineOptions, ...nodeOptions],
    execArgvExtension: 'env',
    assets,
  }),
);
execFileSync(process.execPath, [...engineOptions, ...fixedSeeds, '--build-sea', config], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
acceptCompiledCode(join(work, 'kmesh'));
writeInPieces(join(work, 'kmesh'), join(dist, 'kmesh'));
rmSync(join(dist, 'kmeshctl'), { force: true });
symlinkSync('kmesh', join(dist, 'kmeshctl'));
console.log(`dist/kmesh: ${(statSync(join(dist, 'kmesh')).size / 1e6).toFixed(1)} MB`);

/**
 * V8 takes compiled code only from a process with the same options, by a number in the code's head. Options of the seeds
 * are part of it though the code does not depend on them: the number becomes that of a process without.
 */
function acceptCompiledCode(file: string): void {
  const bytes = readFileSync(file);
  const made = headOfCompiledCode([...engineOptions, ...fixedSeeds]);
  const wanted = headOfCompiledCode(engineOptions);
  const at = bytes.lastIndexOf(made.subarray(0, 8));
  const flags = 12;
  if (at < 0 || !bytes.subarray(at + flags, at + flags + 4).equals(made.subarray(flags, flags + 4)))
    throw new Error('build-binary: the executable has no compiled code where V8 puts its head');
  wanted.copy(bytes, at + flags, flags, flags + 4);
  writeFileSync(file, bytes);
}

/** Magic number, version, source and options, of four bytes each. */
function headOfCompiledCode(options: readonly string[]): Buffer {
  const program =
    "process.stdout.write(new (require('node:vm').Script)('0').createCachedData().subarray(0, 16).toString('hex'))";
  return Buffer.from(
    execFileSync(process.execPath, [...options, '-e', program], { encoding: 'utf8' }),
    'hex',
  );
}

/** Beside the bundle is a list of what went into it, for the bill of materials. */
async function bundle(source: string, name: string): Promise<void> {
  const { metafile } = await build({
    ...shared,
    entryPoints: [source],
    outfile: join(work, name),
    metafile: true,
  });
  // One other character, and V8 holds each of the text in two bytes.
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
 * Copies as a container runtime unpacks. Written at once, the file lies in the page cache in pieces of two megabytes, and
 * each instruction that runs brings one of these into the process.
 */
function writeInPieces(from: string, to: string): void {
  const bytes = readFileSync(from);
  rmSync(to, { force: true });
  const file = openSync(to, 'w', 0o755);
  for (let at = 0; at < bytes.length; at += 32_768)
    writeSync(file, bytes, at, Math.min(32_768, bytes.length - at));
  closeSync(file);
}
