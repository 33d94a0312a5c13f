import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * Options of V8, which count only from the start of a process; `NODE_OPTIONS` adds to them. A small young generation
 * keeps single collections short, and so do few megabytes that one full collection moves together: moving objects is
 * most of what stops a thread with a large mesh; `gc` is called once, when the start is over; V8's built-in functions stay where they
 * are in the file, and not in a copy for each thread; a thread that has come to rest gives back what it does not need,
 * in steps, after seconds and not after half a minute.
 */
export const engineOptions: readonly string[] = [
  '--max-semi-space-size=2',
  '--compaction-max-evacuated-bytes-mb=1',
  '--compaction-max-evacuated-bytes-mb-for-reduce-memory=3',
  '--expose-gc',
  '--no-short-builtin-calls',
  '--gc-memory-reducer-start-delay-ms=3000',
];

/**
 * With these options V8 compiles the same sources to the same bytes, and keeps compiled code. The executable itself
 * must not run with known seeds.
 */
const compilerOptions: readonly string[] = [
  ...engineOptions,
  '--hash-seed=1',
  '--random-seed=1',
  '--no-flush-bytecode',
];

/** A compile cache or options of the environment would change the code that V8 compiles at load. */
const compilerEnvironment: NodeJS.ProcessEnv = { PATH: process.env['PATH'] };

/** Writes the code that V8 compiles when a program starts. */
export function compileProgram(program: string, output: string): void {
  const child = fileURLToPath(new URL('compile-program.ts', import.meta.url));
  execFileSync(process.execPath, [...compilerOptions, child, program, output], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: compilerEnvironment,
  });
}

/** Length of the head of compiled code, and where in it the options are: magic number, version, source and options. */
const headBytes = 16;
const optionsAt = 12;
/** More than a hundred of Node's own modules, and our programs. */
const fewestPieces = { ours: 5, nodes: 100 };

/**
 * V8 accepts compiled code only from a process with the same options, by a number in the code's header. The code does
 * not depend on these options: the number is set to that of the running executable, in Kmesh's compiled code and in
 * that of Node's own modules, which each thread would otherwise compile again.
 */
export function acceptCompiledCode(file: string): void {
  const bytes = readFileSync(file);
  const wanted = headOfCompiledCode(engineOptions);
  const ours = headOfCompiledCode(compilerOptions).subarray(optionsAt);
  const nodes = headOfCompiledCode([]).subarray(optionsAt);
  const found = { ours: 0, nodes: 0 };
  const begin = wanted.subarray(0, 8);
  for (let at = bytes.indexOf(begin); at >= 0; at = bytes.indexOf(begin, at + begin.length)) {
    const options = bytes.subarray(at + optionsAt, at + headBytes);
    if (options.equals(ours)) found.ours++;
    else if (options.equals(nodes)) found.nodes++;
    else continue;
    wanted.copy(options, 0, optionsAt);
  }
  if (found.ours < fewestPieces.ours || found.nodes < fewestPieces.nodes)
    throw new Error(
      `build-binary: found ${found.ours} programs and ${found.nodes} modules of Node as compiled code`,
    );
  writeFileSync(file, bytes);
}

function headOfCompiledCode(options: readonly string[]): Buffer {
  const program = `process.stdout.write(new (require('node:vm').Script)('0').createCachedData().subarray(0, ${headBytes}).toString('hex'))`;
  return Buffer.from(
    execFileSync(process.execPath, [...options, '-e', program], {
      encoding: 'utf8',
      env: compilerEnvironment,
    }),
    'hex',
  );
}
