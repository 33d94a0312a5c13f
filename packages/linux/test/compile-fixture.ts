import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const compiled = new Map<string, Uint8Array>();

/** Compiles `test/fixtures/<name>.bpf.c` and returns the object's bytes. */
export function compileFixture(name: string): Uint8Array {
  const known = compiled.get(name);
  if (known !== undefined) return known;
  const source = fileURLToPath(new URL(`fixtures/${name}.bpf.c`, import.meta.url));
  const libbpf = fileURLToPath(new URL('../vendor/libbpf', import.meta.url));
  const directory = mkdtempSync(join(tmpdir(), 'kmesh-fixture-'));
  try {
    const output = join(directory, 'fixture.o');
    const includes = ['-I', `${libbpf}/include/uapi`, '-I', `${libbpf}/src`];
    const machine = `/usr/include/${execFileSync('gcc', ['-print-multiarch'], { encoding: 'utf8' }).trim()}`;
    const flags = ['-target', 'bpf', '-mcpu=v3', '-g', '-O2', '-Wall', '-Werror', '-idirafter', machine];
    execFileSync('clang', [...flags, ...includes, '-c', source, '-o', output], { stdio: 'inherit' });
    const bytes = new Uint8Array(readFileSync(output));
    compiled.set(name, bytes);
    return bytes;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
