import { closeSync, constants as fsConstants, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants as osConstants, tmpdir } from 'node:os';
import { basename, isAbsolute, join } from 'node:path';
import { getAsset, getRawAsset, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { Worker, type WorkerOptions } from 'node:worker_threads';
import { KmeshError } from '@kmesh/api';

const buildFolder = new URL('../../../build/', import.meta.url);

/**
 * Reads a file of the build, such as `bpf/kmesh.bpf.o`: from `build/` of a checkout, or from the single executable.
 * Reads an absolute path directly.
 *
 * @throws KMESH_PROGRAM_FILE_MISSING naming the file and what builds it.
 */
export function programFile(name: string): Uint8Array {
  if (isAbsolute(name)) return readFileSync(name);
  try {
    return isSea() ? new Uint8Array(getRawAsset(name)) : readFileSync(new URL(name, buildFolder));
  } catch (cause) {
    throw new KmeshError(
      'KMESH_PROGRAM_FILE_MISSING',
      isSea()
        ? `this executable does not contain ${name}; rebuild it with "npm run build:binary"`
        : `${name} is not in ${fileURLToPath(buildFolder)}; build it with "npm run build"`,
      { cause },
    );
  }
}

/**
 * Loads a native addon from the single executable. Writes it to an unnamed file in the temporary directory, so that
 * nothing is left behind. The descriptor stays open: the dynamic loader identifies libraries by path, so the next addon
 * must not get the same descriptor number.
 *
 * @throws KMESH_PROGRAM_FILE_MISSING, KMESH_TEMPORARY_FILE; the loader's error if it is not an addon for this machine.
 */
export function loadCarriedAddon(name: string): unknown {
  const fd = unnamedFile(programFile(name));
  try {
    const module = { exports: {} };
    process.dlopen(module, `/proc/self/fd/${fd}`, osConstants.dlopen.RTLD_NOW);
    return module.exports;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/**
 * Starts a thread that runs the module at `program`. The single executable contains each such module as a bundle of the
 * same name.
 */
export function startThread(program: URL, options: WorkerOptions): Worker {
  if (!isSea()) return new Worker(program, options);
  return new Worker(getAsset('carried-thread.js', 'utf8'), {
    ...options,
    eval: true,
    argv: [threadFile(program.pathname)],
  });
}

/** Returns the asset name of a thread's program in the single executable. */
function threadFile(path: string): string {
  return `threads/${basename(path, '.ts')}.js`;
}

/** Creates an unnamed file, which is deleted with its last descriptor. */
function unnamedFile(bytes: Uint8Array): number {
  const directory = tmpdir();
  try {
    const fd = openUnnamed(directory);
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    return fd;
  } catch (cause) {
    throw new KmeshError(
      'KMESH_TEMPORARY_FILE',
      `cannot create a file in ${directory}, from where the native addons are loaded: ` +
        'mount a writable directory there, or set TMPDIR',
      { cause },
    );
  }
}

function openUnnamed(directory: string): number {
  try {
    return openSync(directory, fsConstants.O_RDWR | O_TMPFILE, 0o700);
  } catch {
    // Some file systems do not support O_TMPFILE: create a named file and remove it at once.
    const path = join(directory, `kmesh-${process.pid}-${process.hrtime.bigint()}`);
    const { O_RDWR, O_CREAT, O_EXCL } = fsConstants;
    const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o700);
    unlinkSync(path);
    return fd;
  }
}

/** Node.js does not export it; equal on x86-64 and arm64 except for O_DIRECTORY. */
const O_TMPFILE = 0o20000000 | fsConstants.O_DIRECTORY;

/**
 * Runs a program of the single executable, a bundle in the form of a CommonJS function, and returns its exports. Its
 * start uses a compile cache. Only programs that run are held in memory.
 *
 * @throws KMESH_PROGRAM_FILE_MISSING
 */
export function runCarriedProgram(name: string): unknown {
  const script = carriedScript(name);
  const module = { exports: {} };
  const run = script.runInThisContext() as (exports: object, require: NodeJS.Require, module: object) => void;
  run(module.exports, createRequire(process.execPath), module);
  return module.exports;
}

function carriedScript(name: string): Script {
  try {
    return new Script(getAsset(name, 'utf8'), {
      filename: name,
      cachedData: new Uint8Array(getRawAsset(`${name}.compiled`)),
    });
  } catch (cause) {
    throw new KmeshError(
      'KMESH_PROGRAM_FILE_MISSING',
      `this executable does not contain ${name}; rebuild it with "npm run build:binary"`,
      { cause },
    );
  }
}
