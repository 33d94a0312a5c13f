import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../../../', import.meta.url));

/** Another version of Kmesh on this disk. */
export interface OtherBuild extends Disposable {
  /** Its executable. */
  readonly main: string;
}

/**
 * Builds this repository once more with other structures: `edit` changes the text of bpf/kmesh_types.h. The programs are
 * compiled and TypeScript's view of them generated anew, as for a release; everything else is shared.
 */
export function buildOther(edit: (types: string) => string): OtherBuild {
  mkdirSync(join(root, 'build', 'test'), { recursive: true });
  const tree = mkdtempSync(join(root, 'build', 'test', 'other-'));
  const remove = () => rmSync(tree, { recursive: true, force: true });
  process.once('exit', remove);
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

  const types = join(tree, 'bpf/kmesh_types.h');
  const before = readFileSync(types, 'utf8');
  const after = edit(before);
  if (after === before) throw new Error('the other build is the same');
  writeFileSync(types, after);
  execFileSync('bash', ['scripts/build-bpf.sh'], { cwd: tree, stdio: 'inherit' });
  execFileSync(process.execPath, ['scripts/generate-layouts.ts'], { cwd: tree, stdio: 'inherit' });
  return {
    main: join(tree, 'packages/kmesh/src/main.ts'),
    [Symbol.dispose]() {
      process.off('exit', remove);
      remove();
    },
  };
}

/** The next version of what is known of connections: their shape is another. */
export function otherFlows(types: string): string {
  return types
    .replace(/KMESH_LAYOUT_VERSION = (\d+)/, 'KMESH_LAYOUT_VERSION = 1$1')
    .replace(/^struct kmesh_flow \{\n/m, (line) => `${line}\t__u64 of_the_next_version;\n`);
}

/** A version that hands connections over to the handshake in another way as well. */
export function otherHandshakes(types: string): string {
  return otherFlows(types)
    .replace(/KMESH_HANDSHAKE_VERSION = (\d+)/, 'KMESH_HANDSHAKE_VERSION = 1$1')
    .replace(/^struct kmesh_dial \{\n/m, (line) => `${line}\t__u64 of_the_next_version;\n`);
}
