import { execFileSync } from 'node:child_process';
import { existsSync, globSync, realpathSync } from 'node:fs';

/** A file of a Debian package that goes into the image, at the same path. */
export interface DebianFile {
  readonly path: string;
  readonly package: string;
}

/** What {@link debianFiles} is to gather for. */
export interface FilesWanted {
  /** By name, as found on a usual search path. */
  readonly programs: readonly string[];
  /** Folders of libraries that a program loads by itself. */
  readonly folders: readonly string[];
  /** Programs and libraries of our own. */
  readonly executables: readonly string[];
}

/** A Debian package of which files are in the image. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

/** The programs, the folders' libraries, and every library that they and `executables` are linked to, by path. */
export function debianFiles({ programs, folders, executables }: FilesWanted): DebianFile[] {
  const paths = new Set(folders.flatMap((folder) => globSync(`${folder}/*.so`)));
  for (const program of programs) {
    const path = locate(program);
    paths.add(path);
    for (const library of librariesOf(path)) paths.add(library);
  }
  for (const executable of executables) for (const library of librariesOf(executable)) paths.add(library);
  return [...paths].sort().map((path) => ({ path, package: ownerOf(path) }));
}

/** Versions of the packages, sorted by name. */
export function debianPackages(names: Iterable<string>): DebianPackage[] {
  return [...new Set(names)].sort().map((name) => {
    const format = `${field('Version')}\t${field('Architecture')}`;
    const [version = '', architecture = ''] = run('dpkg-query', ['-W', '-f', format, name]).split('\t');
    return { name, version, architecture };
  });
}

/** A field in dpkg-query's own notation. */
function field(name: string): string {
  return ['$', '{', name, '}'].join('');
}

function locate(program: string): string {
  const directories = ['/usr/bin', '/usr/sbin', '/bin', '/sbin'];
  const found = directories.map((directory) => `${directory}/${program}`).find((path) => existsSync(path));
  if (found === undefined)
    throw new Error(`build-image: ${program} is not on this machine: run scripts/bootstrap.sh`);
  return realpathSync(found);
}

/** Where the loader finds them. The names are kept: it is by these that they are found in the image. */
function librariesOf(executable: string): string[] {
  const libraries: string[] = [];
  for (const line of run('ldd', [executable]).split('\n')) {
    const missing = /^\s*(\S+) => not found/.exec(line);
    if (missing !== null)
      throw new Error(`build-image: ${executable} needs ${missing[1]}, which is not installed`);
    const path = /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1];
    if (path !== undefined) libraries.push(path);
  }
  return libraries;
}

/** /lib and /usr/lib are one directory since Debian 12, of which packages name either. */
function ownerOf(path: string): string {
  const real = realpathSync(path);
  const candidates = [path, real].flatMap((name) => [name, name.replace(/^\/usr/, ''), `/usr${name}`]);
  for (const candidate of candidates) {
    try {
      const owner = run('dpkg-query', ['-S', candidate]).split(':')[0];
      if (owner !== undefined && owner !== '') return owner;
    } catch {
      // Not by this name.
    }
  }
  throw new Error(`build-image: ${path} is of no Debian package, so its licence is not known`);
}

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
