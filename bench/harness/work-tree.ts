import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Another revision of this repository, checked out in a separate folder, with the libraries of its lockfile. */
export interface WorkTree {
  readonly path: string;
  /** Runs a program in it, with its own Node.js; output goes to standard error. Throws if the program fails. */
  run(program: string, ...words: string[]): void;
  /** Removes it. */
  remove(): void;
}

/** Returns the commit of a revision; undefined if there is none of that name. */
export function commitOf(revision: string): string | undefined {
  return git(['rev-parse', '--verify', '--quiet', `${revision}^{commit}`]);
}

/**
 * Checks out a commit, replacing the previous content.
 *
 * @throws Error when git or npm cannot.
 */
export function makeWorkTree(path: string, commit: string): WorkTree {
  mkdirSync(join(path, '..'), { recursive: true });
  const remove = (): void => {
    git(['worktree', 'remove', '--force', path]);
    git(['worktree', 'prune']);
  };
  remove();
  if (git(['worktree', 'add', '--force', '--detach', path, commit]) === undefined)
    throw new Error(`git cannot make a work tree of ${commit} in ${path}`);
  const env = { ...process.env, PATH: `${join(path, 'node_modules/.bin')}:${process.env['PATH']}` };
  const run = (program: string, ...words: string[]): void => {
    const { status } = spawnSync(program, words, { cwd: path, env, stdio: ['ignore', 2, 2] });
    if (status !== 0)
      throw new Error(`"${program} ${words.join(' ')}" in a work tree of ${commit} failed: see above`);
  };
  const lock = (of: string): string => readFileSync(join(of, 'package-lock.json'), 'utf8');
  // Links in node_modules name the packages of the tree that they are in.
  if (lock(root) === lock(path))
    cpSync(join(root, 'node_modules'), join(path, 'node_modules'), {
      recursive: true,
      verbatimSymlinks: true,
    });
  else run('npm', 'ci', '--loglevel=error');
  return { path, run, remove };
}

/** Returns the output of git in this repository; undefined if it fails. */
export function git(words: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync('git', words, { cwd: root, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}
