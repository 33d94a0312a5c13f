import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, globSync, realpathSync } from 'node:fs';

/** A file of a Debian package that goes into the image, at the same path. */
export interface DebianFile {
  readonly path: string;
  readonly package: string;
}

/** Input of {@link debianFiles}. */
export interface FilesWanted {
  /** By name, as found on a usual search path. */
  readonly programs: readonly string[];
  /** Folders of libraries that a program loads by itself. */
  readonly folders: readonly string[];
  /** Programs and libraries of our own. */
  readonly executables: readonly string[];
}

/** A Debian package with files in the image. */
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
  return ownersOf([...paths].sort());
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

/** Paths at which the loader finds them. The names are kept, because the loader in the image uses them. */
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

/** The package of each path. /lib and /usr/lib are one directory since Debian 12; packages use either name. */
function ownersOf(paths: readonly string[]): DebianFile[] {
  const namesOf = (path: string): string[] =>
    [path, realpathSync(path)].flatMap((name) => [name, name.replace(/^\/usr/, ''), `/usr${name}`]);
  // dpkg-query exits with 1 if any name belongs to no package, which is usual here.
  const { stdout } = spawnSync('dpkg-query', ['-S', ...new Set(paths.flatMap(namesOf))], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const owners = new Map<string, string>();
  for (const line of stdout.split('\n')) {
    const [, owner, name] = /^([^:, ]+)[^ ]*: (.+)$/.exec(line) ?? [];
    if (owner !== undefined && name !== undefined) owners.set(name, owner);
  }
  return paths.map((path) => {
    const owner = namesOf(path)
      .map((name) => owners.get(name))
      .find((found) => found !== undefined);
    if (owner === undefined)
      throw new Error(`build-image: ${path} is of no Debian package, so its licence is not known`);
    return { path, package: owner };
  });
}

function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}
