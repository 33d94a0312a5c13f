import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type BpfObject, openBpfObject } from '@kmesh/linux';

const outputFolder = fileURLToPath(new URL('../../../../../build/test/', import.meta.url));
const libbpf = fileURLToPath(new URL('../../../../linux/vendor/libbpf/', import.meta.url));

/** Compiles and loads native/empty.bpf.c: programs of other software at cgroup/connect4 and at interfaces, which do nothing. */
export async function loadEmptyProgram(): Promise<BpfObject> {
  const include = `${outputFolder}include`;
  const output = `${outputFolder}empty.bpf.o`;
  const source = fileURLToPath(new URL('native/empty.bpf.c', import.meta.url));
  mkdirSync(include, { recursive: true });
  execFileSync('ln', ['-sfn', `${libbpf}src`, `${include}/bpf`]);
  const architecture = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
  execFileSync('clang', [
    ...['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-I', include, '-I', `${libbpf}include/uapi`],
    ...['-idirafter', `/usr/include/${architecture}-linux-gnu`, '-c', source, '-o', output],
  ]);
  return openBpfObject(readFileSync(output), 'empty').load();
}
