import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commitOf, git, makeWorkTree } from '../../../bench/harness/work-tree.ts';
import type { Nodes } from '../bare/nodes.ts';
import { cache } from '../paths.ts';

/** An image of Kmesh that was built from an earlier revision. */
export interface EarlierKmesh {
  readonly commit: string;
  /** Its name on the nodes. */
  readonly reference: string;
}

/** File with the names of pinned layouts, and the pattern of its lines. */
const [LAYOUTS, NAMED] = ['packages/runtime/src/tables/gen/layouts.ts', "(handshakes|flows): '"];

/**
 * The default revision of the upgrade cases: the newest with other pinned layouts, which is the most difficult kind of
 * upgrade.
 */
export function earlierRevision(): string {
  const changed = git(['log', '-1', '--format=%H', `-G${NAMED}`, '--', LAYOUTS]);
  if (changed === undefined || changed === '')
    throw new Error(`no commit of this repository changed ${LAYOUTS}: name a revision with --from`);
  return `${changed}^`;
}

/** Builds Kmesh's image of an earlier revision, once, and imports it on the nodes. */
export async function earlierKmesh(nodes: Nodes, revision: string): Promise<EarlierKmesh> {
  const commit = commitOf(revision);
  if (commit === undefined) throw new Error(`--from ${revision}: no revision of this repository`);
  const short = commit.slice(0, 12);
  const reference = `docker.io/kmesh/kmesh:${short}`;
  const kept = join(cache, 'earlier', `${short}.tar`);
  if (!existsSync(kept)) buildEarlier(commit, reference, kept);
  await nodes.load(kept);
  return { commit, reference };
}

function buildEarlier(commit: string, reference: string, archive: string): void {
  mkdirSync(join(cache, 'earlier'), { recursive: true });
  const tree = makeWorkTree(join(cache, 'earlier/tree'), commit);
  try {
    tree.run('npm', 'run', '--silent', 'build:image');
    renameImage(join(tree.path, 'dist/kmesh-image.tar'), reference, archive);
  } finally {
    tree.remove();
  }
}

interface Index {
  readonly manifests: readonly { readonly annotations?: Record<string, string> }[];
}

/** Copies an archive of an OCI layout with another name of the image. */
export function renameImage(from: string, reference: string, to: string): void {
  const work = `${to}.work`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  execFileSync('tar', ['-xf', from, '-C', work]);
  const file = join(work, 'index.json');
  const index = JSON.parse(readFileSync(file, 'utf8')) as Index;
  for (const { annotations } of index.manifests)
    Object.assign(annotations ?? {}, {
      'io.containerd.image.name': reference,
      'org.opencontainers.image.ref.name': reference.split(':').at(-1),
    });
  writeFileSync(file, JSON.stringify(index));
  execFileSync('tar', ['-cf', `${to}.made`, '-C', work, '.']);
  rmSync(work, { recursive: true });
  renameSync(`${to}.made`, to);
}
