import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, globSync, renameSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { cache } from '../paths.ts';
import type { Progress } from '../progress.ts';

/** The release that is downloaded if the installed one is older and cannot download a newer one. */
const RELEASE = 'go1.26.8';
/** From this minor version on, a go command downloads the version that a module requires. */
const FETCHES_ITSELF = 21;

/**
 * Puts a `go` on the search path that builds the modules of the cluster. Debian 12's is too old for them and for
 * automatic downloads; but it can download modules, and a release of Go is one, with a checksum in the checksum
 * database.
 */
export function findGo(progress: Progress): void {
  const version = execFileSync('go', ['version'], { encoding: 'utf8' });
  if (canBuild(version)) return;
  const folder = join(cache, RELEASE);
  if (!existsSync(folder)) {
    progress.note(`${RELEASE}, because the one here is ${version.trim()}`);
    fetchGo(folder);
  }
  process.env['PATH'] = [join(folder, 'bin'), process.env['PATH'] ?? ''].join(delimiter);
}

/** The environment of go commands, with the search path as {@link findGo} leaves it. */
export function goEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly -buildvcs=false' };
}

/** Returns whether the output of `go version` is of a go command that can build modules for newer versions. */
export function canBuild(version: string): boolean {
  const [, major = '0', minor = '0'] = / go(\d+)\.(\d+)/.exec(version) ?? [];
  return Number(major) > 1 || Number(minor) >= FETCHES_ITSELF || version.includes(' devel ');
}

function fetchGo(folder: string): void {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const module = `golang.org/toolchain@v0.0.1-${RELEASE}.linux-${architecture}`;
  const answer = execFileSync('go', ['mod', 'download', '-json', module], { encoding: 'utf8' });
  const { Dir: from } = JSON.parse(answer) as { Dir: string };
  const made = `${folder}.made`;
  rmSync(made, { recursive: true, force: true });
  cpSync(from, made, { recursive: true });
  // Files of a module are neither executable nor writable, nor are its folders.
  execFileSync('chmod', ['-R', 'u+w', made]);
  for (const program of globSync(['bin/*', 'pkg/tool/*/*'], { cwd: made }))
    chmodSync(join(made, program), 0o755);
  renameSync(made, folder);
}
