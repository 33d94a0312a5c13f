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
 * Reads a file that the build makes, such as `bpf/kmesh.bpf.o`: from `build/` of a checkout, or from within the single
 * executable. An absolute path is read as it is.
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
        ? `this executable does not carry ${name}: it was built wrongly; build it with "npm run build:binary"`
        : `${name} is not in ${fileURLToPath(buildFolder)}; build it with "npm run build"`,
      { cause },
    );
  }
}

/**
 * Loads a native addon that the single executable carries. It is written into a file without a name in the temporary
 * directory, so that nothing is left behind. Its descriptor stays open: the loader takes two files of one path for the same,
 * and the next addon must not get this one's.
 *
 * @throws KMESH_PROGRAM_FILE_MISSING, KMESH_TEMPORARY_FILE; the loader's own error when it is no addon for this machine.
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
 * Starts a thread whose program is the module at `program`. The single executable carries each such module as a bundle
 * of the same name.
 */
export function startThread(program: URL, options: WorkerOptions): Worker {
  if (!isSea()) return new Worker(program, options);
  return new Worker(getAsset('carried-thread.js', 'utf8'), {
    ...options,
    eval: true,
    argv: [threadFile(program.pathname)],
  });
}

/** The name under which the single executable carries the program of a thread. */
function threadFile(path: string): string {
  return `threads/${basename(path, '.ts')}.js`;
}

/** A file that has no name and is gone when its last user is. */
function unnamedFile(bytes: Uint8Array): number {
  const directory = tmpdir();
  try {
    const fd = openUnnamed(directory);
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    return fd;
  } catch (cause) {
    throw new KmeshError(
      'KMESH_TEMPORARY_FILE',
      `no file can be made in ${directory}, where the native addons are loaded from: ` +
        'mount a writable directory there, or name one with TMPDIR',
      { cause },
    );
  }
}

function openUnnamed(directory: string): number {
  try {
    return openSync(directory, fsConstants.O_RDWR | O_TMPFILE, 0o700);
  } catch {
    // Older file systems cannot do that: a name that lives for as long as it takes to remove it.
    const path = join(directory, `kmesh-${process.pid}-${process.hrtime.bigint()}`);
    const { O_RDWR, O_CREAT, O_EXCL } = fsConstants;
    const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o700);
    unlinkSync(path);
    return fd;
  }
}

/** Of Linux, on x86-64 and arm64 alike but for O_DIRECTORY; Node.js does not name it. */
const O_TMPFILE = 0o20000000 | fsConstants.O_DIRECTORY;

/**
 * Runs a program that the single executable carries as a bundle, a function of CommonJS, and returns what it exports. What
 * its start needs is compiled already. Only what is run is held in memory.
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
      `this executable does not carry ${name}: it was built wrongly; build it with "npm run build:binary"`,
      { cause },
    );
  }
}
