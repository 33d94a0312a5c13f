import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BpfMap, type BpfProgram, duplicateDescriptor, openBpfObject } from '@kmesh/linux';
import type { KernelEventResolver } from '@kmesh/runtime';
import { workload } from './traffic.ts';

const repository = fileURLToPath(new URL('../../../../../', import.meta.url));

/** A source of kernel events at any rate; native/probe-emit.bpf.c defines their contents. */
export interface EventEmitter extends Disposable {
  readonly ring: BpfMap;
  readonly losses: BpfMap;
  readonly program: BpfProgram;
  /** Writes at least `events` events (more if a signal restarts a run); blocks this thread. */
  emit(events: number): void;
  /** Events written so far, including lost ones. */
  readonly emitted: number;
  /** Returns a new descriptor of the program for another thread, which then owns it. */
  duplicateProgram(): number;
}

let compiled: Uint8Array | undefined;

/** A packet that BPF_PROG_TEST_RUN accepts; nothing reads it. */
export const anyPacket = new Uint8Array(64);

/**
 * Compiles and loads the emitter with a ring and a loss counter like the product's.
 *
 * @param openings whether connections are reported twice, as while the access log shows openings
 */
export async function startEventEmitter(openings: boolean): Promise<EventEmitter> {
  compiled ??= compile();
  const unloaded = openBpfObject(compiled, 'probe-emit');
  unloaded.setConstant('with_openings', openings ? 1 : 0);
  const object = await unloaded.load();
  const program = object.program('emit');
  return {
    ring: object.map('events'),
    losses: object.map('events_lost'),
    program,
    get emitted() {
      const value = object.map('runs').get(new Uint8Array(4));
      return value === undefined
        ? 0
        : Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
    },
    emit: (events) => void program.testRun(anyPacket, events),
    duplicateProgram: () => duplicateDescriptor(program.fd),
    [Symbol.dispose]: () => object.close(),
  };
}

function compile(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), `kmesh-emit-${process.pid}-`));
  try {
    const include = join(folder, 'include');
    mkdirSync(include);
    const libbpf = join(repository, 'packages/linux/vendor/libbpf');
    symlinkSync(join(libbpf, 'src'), join(include, 'bpf'));
    const output = join(folder, 'emit.bpf.o');
    const architecture = execFileSync('uname', ['-m'], { encoding: 'utf8' }).trim();
    execFileSync('clang', [
      ...['-target', 'bpf', '-mcpu=v3', '-O2', '-g', '-Wall', '-Werror', '-Wno-unused-parameter'],
      ...['-I', include, '-I', join(libbpf, 'include/uapi'), '-I', join(repository, 'bpf')],
      ...['-idirafter', `/usr/include/${architecture}-linux-gnu`],
      ...['-c', fileURLToPath(new URL('native/probe-emit.bpf.c', import.meta.url)), '-o', output],
    ]);
    return readFileSync(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Resolves the ids of the emitted events: 32 client pods, 64 server pods, 16 services. */
export function emitterResolver(): KernelEventResolver {
  const clients = Array.from({ length: 32 }, (_, index) =>
    workload(`client-${index}`, `10.0.0.${index + 1}`),
  );
  const servers = Array.from({ length: 64 }, (_, index) =>
    workload(`server-${index}`, `10.1.0.${index + 1}`),
  );
  const services = Array.from({ length: 16 }, (_, index) => ({
    name: `service-${index}`,
    namespace: 'default',
    hostname: `service-${index}.default.svc.cluster.local`,
  }));
  return {
    podWorkload: (netnsCookie) => clients[netnsCookie - 1],
    workload: (id) => servers[id - 1],
    service: (id) => services[id - 1],
    workloadByAddress: () => undefined,
    inboundService: () => undefined,
  };
}
