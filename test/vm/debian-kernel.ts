import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const cache = fileURLToPath(new URL('../../build/kernels/', import.meta.url));

/** Modules that Kmesh's tests use, and those for access to this machine's files. */
const modules = [
  'boot/vmlinuz-*',
  'lib/modules/*/modules.*',
  'lib/modules/*/kernel/net/*',
  'lib/modules/*/kernel/lib/*',
  'lib/modules/*/kernel/crypto/*',
  'lib/modules/*/kernel/drivers/virtio/*',
  'lib/modules/*/kernel/drivers/net/veth.ko',
  'lib/modules/*/kernel/fs/9p/*',
  'lib/modules/*/kernel/fs/netfs/*',
  'lib/modules/*/kernel/fs/fscache/*',
  'lib/modules/*/kernel/fs/overlayfs/*',
];

/** A kernel that is unpacked, not installed. */
export interface UnpackedKernel {
  readonly release: string;
  readonly image: string;
  /** Holds `lib/modules/<release>`. */
  readonly root: string;
  /** A static busybox. */
  readonly busybox: string;
}

/** Returns Debian 12's kernel and a static busybox: downloaded by apt-get at first, later from `build/kernels`. */
export function debianKernel(): UnpackedKernel {
  const name = newestPackage();
  const release = name.slice('linux-image-'.length);
  const root = join(cache, release);
  const kernel = {
    release,
    root,
    image: join(root, 'boot', `vmlinuz-${release}`),
    busybox: join(root, 'bin', 'busybox'),
  };
  if (existsSync(root)) return kernel;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, 'unpack-'));
  try {
    console.error(`test-kernels: downloading ${name}`);
    execFileSync('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', name, 'busybox-static'], {
      cwd: work,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    unpack(work, `${name}_*.deb`, modules);
    unpack(work, 'busybox-static_*.deb', ['bin/busybox']);
    for (const archive of globSync('*.deb', { cwd: work })) rmSync(join(work, archive));
    execFileSync(join(work, 'bin', 'busybox'), ['depmod', '-b', work, release]);
    renameSync(work, root);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return kernel;
}

/** The package that `linux-image-amd64` of Debian 12 currently depends on. */
function newestPackage(): string {
  const ask = () =>
    /linux-image-6\.1\.\S+/.exec(
      execFileSync('apt-cache', ['depends', 'linux-image-amd64'], { encoding: 'utf8', stdio: 'pipe' }),
    )?.[0];
  const known = askOrNothing(ask);
  if (known !== undefined) return known;
  execFileSync('apt-get', ['update', '-qq'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const found = askOrNothing(ask);
  if (found !== undefined) return found;
  throw new Error("apt-cache knows no 6.1 kernel: Debian 12's archive must be among apt's sources");
}

function askOrNothing(ask: () => string | undefined): string | undefined {
  try {
    return ask();
  } catch {
    return undefined;
  }
}

function unpack(directory: string, pattern: string, wanted: readonly string[]): void {
  const [archive] = globSync(pattern, { cwd: directory });
  if (archive === undefined) throw new Error(`apt-get downloaded no ${pattern}`);
  const tar = `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards ${wanted.map((path) => `'./${path}'`).join(' ')}`;
  execFileSync('bash', ['-o', 'pipefail', '-c', tar, 'unpack', join(directory, archive), directory]);
}
