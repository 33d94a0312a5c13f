import { readdirSync, readFileSync } from 'node:fs';

/** Memory of a process by use, in MB of a million bytes. */
export interface MemoryKinds {
  /** Total resident memory (RSS). */
  readonly resident: number;
  /** Anonymous memory, which the kernel cannot drop. */
  readonly anonymous: number;
  /** Mapped files, which the kernel may drop and read again. */
  readonly file: number;
  /** Shared memory and the kernel tables. */
  readonly shared: number;
  /** Of `anonymous`: the JavaScript heaps of all threads. */
  readonly heaps: number;
  /** Of `anonymous`: the C library's allocator, and the stacks. */
  readonly allocator: number;
  /** Of `file`: instructions. */
  readonly code: number;
}

const kilobyte = 1024 / 1e6;
/** V8 places its heaps below the addresses that the kernel chooses. */
const kernelPlaced = 0x7000_0000_0000;

/** Returns the memory of a process, from its mappings. */
export function memoryKinds(pid: number): MemoryKinds {
  const kinds = { resident: 0, anonymous: 0, file: 0, shared: 0, heaps: 0, allocator: 0, code: 0 };
  let mapping = { start: 0, permissions: '', name: '' };
  let resident = 0;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const head = /^([0-9a-f]+)-[0-9a-f]+ (\S{4}) \S+ \S+ \d+ *(.*)$/.exec(line);
    if (head !== null) {
      mapping = {
        start: Number.parseInt(head[1] ?? '', 16),
        permissions: head[2] ?? '',
        name: head[3] ?? '',
      };
      continue;
    }
    const figure = /^(Rss|Anonymous): +(\d+) kB/.exec(line);
    if (figure === null) continue;
    const megabytes = Number(figure[2]) * kilobyte;
    if (figure[1] === 'Rss') {
      resident = megabytes;
      continue;
    }
    kinds.resident += resident;
    kinds.anonymous += megabytes;
    const rest = resident - megabytes;
    if (mapping.permissions.endsWith('s')) kinds.shared += rest;
    else kinds.file += rest;
    if (mapping.permissions.includes('x')) kinds.code += rest;
    if (mapping.name === '' && mapping.start < kernelPlaced) kinds.heaps += megabytes;
    else kinds.allocator += megabytes;
  }
  return kinds;
}

/** Returns the number of threads of a process by name. */
export function threadsOf(pid: number): ReadonlyMap<string, number> {
  const threads = new Map<string, number>();
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const name = readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8').trim();
    threads.set(name, (threads.get(name) ?? 0) + 1);
  }
  return threads;
}
