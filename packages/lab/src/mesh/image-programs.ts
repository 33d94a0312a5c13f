import { existsSync, mkdirSync, readlinkSync, renameSync, symlinkSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { podPrograms } from '@kmesh/runtime';

const folder = fileURLToPath(new URL('../../../../build/image-programs', import.meta.url));

/**
 * Returns a search path with the programs that Kmesh's image has, and no others: a daemon that needs another one works
 * on a developer's machine and nowhere else. A program that this machine lacks is left out.
 */
export function imageSearchPath(): string {
  mkdirSync(folder, { recursive: true });
  for (const program of podPrograms) {
    const found = (process.env['PATH'] ?? '')
      .split(delimiter)
      .map((place) => join(place, program))
      .find((file) => dirname(file) !== folder && existsSync(file));
    if (found !== undefined) link(found, join(folder, program));
  }
  return folder;
}

/** A shell statement for scripts that start a daemon by another program: the search path of this process. */
export function exportMachinePath(): string {
  return `export PATH='${process.env['PATH'] ?? ''}'`;
}

/** Makes a symbolic link, also beside another process that does. */
function link(target: string, file: string): void {
  try {
    if (readlinkSync(file) === target) return;
  } catch {
    // There is none.
  }
  const made = `${file}.${process.pid}`;
  symlinkSync(target, made);
  renameSync(made, file);
}
