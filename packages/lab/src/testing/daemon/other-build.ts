import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../../', import.meta.url));

const builds = join(root, 'build', 'test');
const kept = 'other-of-';
const HOUR = 3_600_000;

/** Another version of Kmesh on this disk. */
export interface OtherBuild {
  /** Its executable. */
  readonly main: string;
}

/**
 * Builds this repository with other structures: `edit` changes the text of bpf/kmesh_types.h. The programs are compiled
 * and the TypeScript layouts generated, as for a release; everything else is shared. A build is cached until the
 * sources change.
 */
export function buildOther(edit: (types: string) => string): OtherBuild {
  const before = readFileSync(join(root, 'bpf/kmesh_types.h'), 'utf8');
  const types = edit(before);
  if (types === before) throw new Error('the other build is the same');
  const home = join(builds, `${kept}${hashOfSources(types)}`);
  if (!existsSync(home)) {
    mkdirSync(builds, { recursive: true });
    removeOldBuilds();
    const tree = mkdtempSync(join(builds, 'other-'));
    const remove = () => rmSync(tree, { recursive: true, force: true });
    process.once('exit', remove);
    build(tree, types);
    try {
      renameSync(tree, home);
    } catch (error) {
      // Another process finished the same build first.
      if (!existsSync(home)) throw error;
    }
    remove();
    process.off('exit', remove);
  }
  return { main: join(home, 'packages/kmesh/src/main.ts') };
}

/** Returns a hash over all inputs of a build. */
function hashOfSources(types: string): string {
  const hash = createHash('sha256').update(types);
  const patterns = ['bpf/**', 'scripts/**', 'packages/*/src/**', 'packages/*/package.json', 'package.json'];
  for (const path of globSync(patterns, { cwd: root }).sort()) {
    if (!statSync(join(root, path)).isFile()) continue;
    hash.update(`\0${path}\0`).update(readFileSync(join(root, path)));
  }
  return hash.digest('hex').slice(0, 16);
}

/** Removes builds of other source versions, except recent ones, which a concurrent run may still use. */
function removeOldBuilds(): void {
  for (const name of readdirSync(builds)) {
    const path = join(builds, name);
    if (name.startsWith(kept) && Date.now() - statSync(path).mtimeMs > HOUR)
      rmSync(path, { recursive: true });
  }
}

function build(tree: string, types: string): void {
  for (const folder of ['bpf', 'scripts', 'package.json'])
    cpSync(join(root, folder), join(tree, folder), { recursive: true });
  mkdirSync(join(tree, 'node_modules', '@kmesh'), { recursive: true });
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name !== '@kmesh') symlinkSync(join(root, 'node_modules', name), join(tree, 'node_modules', name));
  }
  for (const name of readdirSync(join(root, 'packages'))) {
    const [from, to] = [join(root, 'packages', name), join(tree, 'packages', name)];
    for (const part of ['src', 'package.json']) cpSync(join(from, part), join(to, part), { recursive: true });
    symlinkSync(`../../packages/${name}`, join(tree, 'node_modules', '@kmesh', name));
  }
  symlinkSync(join(root, 'packages/linux/vendor'), join(tree, 'packages/linux/vendor'));
  mkdirSync(join(tree, 'build'));
  for (const addon of ['kmesh-linux.node', 'kmesh-tunnel.node'])
    symlinkSync(join(root, 'build', addon), join(tree, 'build', addon));

  writeFileSync(join(tree, 'bpf/kmesh_types.h'), types);
  execFileSync('bash', ['scripts/build-bpf.sh'], { cwd: tree, stdio: 'inherit' });
  execFileSync(process.execPath, ['scripts/generate-layouts.ts'], { cwd: tree, stdio: 'inherit' });
}

/** Returns bpf/kmesh_types.h with another layout version and another `struct kmesh_flow`. */
export function otherFlows(types: string): string {
  return types
    .replace(/KMESH_LAYOUT_VERSION = (\d+)/, 'KMESH_LAYOUT_VERSION = 1$1')
    .replace(/^struct kmesh_flow \{\n/m, (line) => `${line}\t__u64 of_the_next_version;\n`);
}

/** As {@link otherFlows}, with another handshake version and `struct kmesh_dial` too. */
export function otherHandshakes(types: string): string {
  return otherFlows(types)
    .replace(/KMESH_HANDSHAKE_VERSION = (\d+)/, 'KMESH_HANDSHAKE_VERSION = 1$1')
    .replace(/^struct kmesh_dial \{\n/m, (line) => `${line}\t__u64 of_the_next_version;\n`);
}
