import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Link, openBpfObject, openNetworkNamespace } from '@kmesh/linux';
import type { Host } from '../../pods/host.ts';

/** Tags packets until disposed of. */
interface PacketTags extends Disposable {
  /** Returns the number of packets that arrived with a tag. */
  seen(): number;
}

/** Adds one 802.1Q tag, or two, to every packet that leaves `from`, and counts tagged packets that reach `to`. */
export async function tagPackets(from: Host, to: Host, tags: 1 | 2 = 1): Promise<PacketTags> {
  const object = await openBpfObject(compile(), 'tag').load();
  const attach = (host: Host, program: string, direction: 'egress' | 'ingress'): Link => {
    using namespace = openNetworkNamespace(host.namespacePath);
    return object.program(program).attachTc({ device: 'eth0', direction, namespace });
  };
  const links = [attach(from, tags === 1 ? 'tag' : 'tag_twice', 'egress'), attach(to, 'count', 'ingress')];
  return {
    seen: () => {
      const value = object.map('tagged').get(new Uint8Array(4));
      return value === undefined
        ? 0
        : Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
    },
    [Symbol.dispose]: () => {
      for (const link of links) link.close();
      object.close();
    },
  };
}

function compile(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'kmesh-tag-'));
  try {
    const libbpf = fileURLToPath(new URL('../../../../linux/vendor/libbpf/', import.meta.url));
    const include = join(folder, 'include');
    mkdirSync(include);
    symlinkSync(join(libbpf, 'src'), join(include, 'bpf'));
    const architecture = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
    const output = join(folder, 'tag.bpf.o');
    execFileSync('clang', [
      ...['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-Wall', '-Werror'],
      ...['-I', include, '-I', join(libbpf, 'include/uapi')],
      ...['-idirafter', `/usr/include/${architecture}-linux-gnu`],
      ...['-c', fileURLToPath(new URL('native/tag.bpf.c', import.meta.url)), '-o', output],
    ]);
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
