import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { UnpackedKernel } from './debian-kernel.ts';

const repository = fileURLToPath(new URL('../../', import.meta.url));

/** In the order in which they can be loaded. */
const modules = [
  ...['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci'],
  ...['netfs', 'fscache', '9pnet', '9pnet_virtio', '9p', 'overlay'],
];

/** Emulation is slow, and the machine may have other work. */
const LIMIT_MS = 15 * 60_000;

/**
 * Boots a kernel in an emulated machine that sees this one's files read-only, runs a command there in the repository,
 * and returns what it wrote to the file `report` of the directory `/run/kernels/result`.
 *
 * @throws Error with the end of the console when the command left no report
 */
export async function runUnder(kernel: UnpackedKernel, command: string): Promise<string> {
  const work = mkdtempSync(join(tmpdir(), 'kmesh-kernels-'));
  const removeWork = () => rmSync(work, { recursive: true, force: true });
  process.once('exit', removeWork);
  try {
    const shared = join(work, 'result');
    const console = join(work, 'console');
    mkdirSync(shared);
    const machine = spawn(
      'qemu-system-x86_64',
      options(kernel, await initialFiles(kernel, command, work), shared),
      {
        stdio: ['ignore', openSync(console, 'w'), 'inherit'],
        timeout: LIMIT_MS,
        killSignal: 'SIGKILL',
      },
    );
    const kill = () => machine.kill('SIGKILL');
    process.once('exit', kill);
    const stopAtSignal = () => process.exit(1);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stopAtSignal);
    await once(machine, 'exit');
    process.off('exit', kill);
    try {
      return readFileSync(join(shared, 'report'), 'utf8');
    } catch {
      const end = readFileSync(console, 'utf8').split('\n').slice(-40).join('\n');
      throw new Error(`nothing was reported under ${kernel.release}; the console ends with:\n${end}`);
    }
  } finally {
    removeWork();
    process.off('exit', removeWork);
  }
}

function options(kernel: UnpackedKernel, files: string, shared: string): string[] {
  return [
    // One processor: V8 writes code that its other threads run, and an emulator of several processors does not always
    // detect that. Emulated protection keys do not work as V8 expects either. Both end Node.js in one of three starts.
    // KVM is not used even if available, so that measurements are comparable between machines.
    ...['-accel', 'tcg', '-cpu', 'max,-pku', '-smp', '1', '-m', '4096'],
    ...['-nodefaults', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', kernel.image, '-initrd', files, '-append', 'console=ttyS0 quiet panic=-1'],
    ...['-virtfs', 'local,path=/,mount_tag=root,readonly=on,security_model=none,multidevs=remap'],
    ...['-virtfs', `local,path=${shared},mount_tag=result,security_model=none`],
  ];
}

/** The archive from which the machine starts. */
async function initialFiles(kernel: UnpackedKernel, command: string, work: string): Promise<string> {
  const tree = join(work, 'files');
  for (const directory of ['bin', 'lib']) mkdirSync(join(tree, directory), { recursive: true });
  copyFileSync(kernel.busybox, join(tree, 'bin', 'busybox'));
  for (const name of modules) {
    const [path] = globSync(`lib/modules/**/${name}.ko`, { cwd: kernel.root });
    if (path === undefined) throw new Error(`the kernel ${kernel.release} has no module ${name}`);
    copyFileSync(join(kernel.root, path), join(tree, 'lib', basename(path)));
  }
  copyFileSync(fileURLToPath(new URL('init.sh', import.meta.url)), join(tree, 'init'));
  chmodSync(join(tree, 'init'), 0o755);
  writeFileSync(
    join(tree, 'settings'),
    `release='${kernel.release}'\nroot='${kernel.root}'\nmodules='${modules.join(' ')}'\n`,
  );
  writeFileSync(
    join(tree, 'command'),
    `cd '${repository}' || exit 1
export HOME=/root PATH="$PWD/node_modules/.bin:/usr/sbin:/usr/bin:/sbin:/bin"
ip link set lo up
${command}
`,
  );
  const archive = join(work, 'files.cpio');
  const pack = `find . | "$1" cpio -o -H newc >"$2" 2>/dev/null`;
  execFileSync('bash', ['-c', pack, 'pack', kernel.busybox, archive], { cwd: tree });
  return archive;
}
