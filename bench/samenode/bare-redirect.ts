import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Lab } from '@kmesh/lab';
import { openBpfObject } from '@kmesh/linux';

const pathOf = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const source = pathOf('native/bare-redirect.bpf.c');
const libbpf = pathOf('../../packages/linux/vendor/libbpf');
const folder = pathOf('../../build/bench/');

/** Redirects every connection within a lab by programs that do nothing else: what the kernel allows at best. */
export async function redirectBarely(lab: Lab, stack: AsyncDisposableStack): Promise<void> {
  const compiled = `${folder}bare-redirect.bpf.o`;
  mkdirSync(folder, { recursive: true });
  const headers = execFileSync('cc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
  const kernelHeaders = ['-I', `${libbpf}/include/uapi`, '-idirafter', `/usr/include/${headers}`];
  const include = ['-I', `${libbpf}/src`, ...kernelHeaders];
  execFileSync('clang', [
    ...['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-Wall', '-Werror'],
    ...[...include, '-c', source, '-o', compiled],
  ]);
  const object = stack.use(await openBpfObject(readFileSync(compiled), 'bare-redirect').load());
  stack.use(object.program('redirect').attachSockMap(object.map('sockets')));
  stack.use(object.program('join').attachCgroup(lab.cgroup));
}
