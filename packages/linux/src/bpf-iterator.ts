import { read } from 'node:fs';
import { promisify } from 'node:util';
import { addon } from './addon.ts';
import type { BpfMap } from './bpf-map.ts';
import type { BpfProgram } from './bpf-program.ts';
import { checkResult } from './errors.ts';
import { OwnedDescriptor } from './owned-descriptor.ts';

const readDescriptor = promisify(read);
const chunkBytes = 32_768;

/** A program that the kernel runs for every element of a map when asked to. */
export class BpfIterator implements Disposable {
  readonly #link: OwnedDescriptor;

  /**
   * Binds a program of section `iter/bpf_map_elem` or `iter/bpf_sk_storage_map` to a map.
   *
   * @throws SystemCallError `KMESH_BPF_ATTACH_FAILED`
   */
  constructor(program: BpfProgram, map: BpfMap) {
    const message = `cannot bind iterator ${program.name} to map ${map.name}`;
    const link = addon().iteratorLink(program.fd, map.fd);
    this.#link = new OwnedDescriptor(
      checkResult(link, 'KMESH_BPF_ATTACH_FAILED', message, 'bpf'),
      `iterator ${program.name}`,
    );
  }

  /**
   * Visits every element, on a thread of the pool, and gives what the program wrote to its sequence file; nothing when
   * it reports by maps, and then the walk is one piece. May be closed meanwhile.
   *
   * @throws SystemCallError `KMESH_BPF_RUN_FAILED`
   */
  async run(): Promise<Uint8Array> {
    const fd = checkResult(
      addon().iteratorOpen(this.#link.fd),
      'KMESH_BPF_RUN_FAILED',
      'cannot start an iterator',
      'bpf',
    );
    const walk = new OwnedDescriptor(fd, 'the walk of an iterator');
    try {
      const chunks: Uint8Array[] = [];
      for (;;) {
        const chunk = new Uint8Array(chunkBytes);
        const bytesRead = await readPart(walk.fd, chunk);
        if (bytesRead === 0) return Buffer.concat(chunks);
        if (bytesRead > 0) chunks.push(chunk.subarray(0, bytesRead));
      }
    } finally {
      walk.close();
    }
  }

  close(): void {
    this.#link.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Bytes read; −1 when the kernel wants to be asked again, which it does after a million silent elements. */
async function readPart(fd: number, chunk: Uint8Array): Promise<number> {
  try {
    return (await readDescriptor(fd, chunk, 0, chunk.byteLength, null)).bytesRead;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return -1;
    throw error;
  }
}
