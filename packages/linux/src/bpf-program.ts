import { closeSync, openSync } from 'node:fs';
import { addon } from './addon.ts';
import { KernelLink, type Link } from './bpf-link.ts';
import { BpfMap } from './bpf-map.ts';
import { checkResult, systemCallError } from './errors.ts';
import { OwnedDescriptor } from './owned-descriptor.ts';
import { attachTrafficControl, type TrafficControlTarget } from './traffic-control.ts';
import { integerIn, pathOf } from './validate.ts';

/** What the kernel says about a loaded program. The run figures stay 0 unless statistics are on, see `enableProgramStatistics`. */
interface ProgramInfo {
  readonly id: number;
  /** A `bpf_prog_type`. */
  readonly type: number;
  readonly name: string;
  /** Nanoseconds spent in the program, all runs together. */
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
  /** Instructions that the verifier walked. */
  readonly verifiedInstructions: number;
  /** Size of the program as the kernel keeps it; 8 bytes are one instruction. 0 without the right to see it. */
  readonly translatedBytes: number;
  /** Size of the machine code; 0 where the kernel interprets. */
  readonly machineCodeBytes: number;
}

/** A program's instructions as the kernel keeps them, of 8 bytes each, and its functions in their order. */
export interface ProgramCode {
  readonly instructions: Uint8Array;
  /** Without BTF in the object there is none. `type` is the function's id in the object's BTF. */
  readonly functions: readonly { readonly start: number; readonly type: number }[];
}

/** A loaded program. */
export class BpfProgram implements Disposable {
  readonly name: string;
  /** ELF section, which says the hook, such as `cgroup/connect4`. */
  readonly section: string;
  readonly type: number;
  /** The `bpf_attach_type` that the section implies. */
  readonly attachType: number;
  readonly #descriptor: OwnedDescriptor;

  /** Takes ownership of `fd`; programs come from `BpfObject.program` and {@link openPinnedProgram}. */
  constructor(entry: { name: string; section: string; type: number; attachType: number; fd: number }) {
    this.name = entry.name;
    this.section = entry.section;
    this.type = entry.type;
    this.attachType = entry.attachType;
    this.#descriptor = new OwnedDescriptor(entry.fd, `program ${entry.name}`);
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  /**
   * Attaches to a cgroup v2 directory, given as path or descriptor, beside whatever is attached there.
   *
   * @throws SystemCallError `KMESH_BPF_ATTACH_FAILED`
   */
  attachCgroup(cgroup: string | number): Link {
    const label = `cgroup ${cgroup}`;
    const opened = typeof cgroup === 'string';
    const directory = opened ? openDirectory(pathOf('cgroup', cgroup)) : cgroup;
    try {
      const fd = addon().linkCreate(this.fd, directory, this.attachType, -1);
      return new KernelLink(this.#attached(fd, label), label);
    } finally {
      if (opened) closeSync(directory);
    }
  }

  /**
   * Attaches to a network interface: as a tcx link where the kernel has it (6.6), else as a clsact filter, which cannot be
   * pinned but kept, see `TrafficControlTarget.keep`.
   *
   * @throws SystemCallError `KMESH_BPF_ATTACH_FAILED`
   */
  attachTc(target: TrafficControlTarget): Link {
    return attachTrafficControl(this, target);
  }

  /** Identity and run figures. @throws SystemCallError `KMESH_BPF_INFO_FAILED` */
  info(): ProgramInfo {
    const info = addon().programInfo(this.fd);
    if (typeof info !== 'number') return info;
    throw systemCallError(-info, 'KMESH_BPF_INFO_FAILED', `cannot read program ${this.name}`, 'bpf');
  }

  /** What the verifier made of the program. @throws SystemCallError `KMESH_BPF_INFO_FAILED` */
  code(): ProgramCode {
    const code = addon().programCode(this.fd);
    if (typeof code === 'number')
      throw systemCallError(-code, 'KMESH_BPF_INFO_FAILED', `cannot read program ${this.name}`, 'bpf');
    const { instructions, functions } = code;
    const count = functions.length / 2;
    return {
      instructions,
      functions: Array.from({ length: count }, (_, index) => ({
        start: functions[index * 2] ?? 0,
        type: functions[index * 2 + 1] ?? 0,
      })),
    };
  }

  /**
   * Runs the program once per `repeat` on `data` without any hook (BPF_PROG_TEST_RUN), for the program types that
   * allow it; more often when a signal interrupts. `durationNs` is the mean of one run.
   *
   * @throws SystemCallError `KMESH_BPF_RUN_FAILED`
   */
  testRun(data: Uint8Array, repeat = 1): { result: number; durationNs: number } {
    const answer = addon().programTestRun(this.fd, data, integerIn('repeat', repeat, 1, 0x7fff_ffff));
    if (typeof answer !== 'number') return answer;
    throw systemCallError(-answer, 'KMESH_BPF_RUN_FAILED', `cannot run program ${this.name}`, 'bpf');
  }

  /** Makes the program outlive the process at `path`, on bpffs. @throws SystemCallError `KMESH_BPF_PIN_FAILED` */
  pin(path: string): void {
    const result = addon().pin(this.fd, pathOf('path', path));
    checkResult(result, 'KMESH_BPF_PIN_FAILED', `cannot pin program ${this.name} at ${path}`, 'bpf');
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #attached(result: number, target: string): number {
    return checkResult(
      result,
      'KMESH_BPF_ATTACH_FAILED',
      `cannot attach program ${this.name} to ${target}`,
      'bpf',
    );
  }
}

/** Ids of the programs attached to a cgroup at a `bpf_attach_type`, other software's included. */
export function attachedProgramIds(cgroup: string, attachType: number): number[] {
  const directory = openDirectory(pathOf('cgroup', cgroup));
  try {
    const ids = addon().programQuery(directory, attachType, -1);
    if (typeof ids !== 'number') return ids;
    throw systemCallError(-ids, 'KMESH_BPF_INFO_FAILED', `cannot list the programs at ${cgroup}`, 'bpf');
  } finally {
    closeSync(directory);
  }
}

/** The maps that a program uses, opened; those that the caller may not open are left out. The caller closes them. */
export function mapsOfProgram(id: number): BpfMap[] {
  const program = addon().programOpen(id);
  if (program < 0) return [];
  try {
    const maps = addon().programMaps(program);
    if (typeof maps === 'number') return [];
    return maps
      .map((map) => addon().mapOpen(map))
      .filter((fd) => fd >= 0)
      .map((fd) => new BpfMap(fd));
  } finally {
    addon().closeDescriptor(program);
  }
}

/**
 * What is attached to a cgroup at a `bpf_attach_type`, in the order in which the kernel runs it, other software's programs
 * included. A program that ends meanwhile is left out.
 *
 * @throws SystemCallError `KMESH_BPF_INFO_FAILED`
 */
export function attachedPrograms(cgroup: string, attachType: number): ProgramInfo[] {
  return attachedProgramIds(cgroup, attachType).flatMap((id) => programById(id) ?? []);
}

/** What the kernel says about the program with this id; `undefined` when there is none. */
export function programById(id: number): ProgramInfo | undefined {
  const fd = addon().programOpen(id);
  if (fd < 0) return undefined;
  const info = addon().programInfo(fd);
  addon().closeDescriptor(fd);
  return typeof info === 'number' ? undefined : info;
}

/** Opens the program that is pinned at `path`. @throws SystemCallError `KMESH_BPF_PIN_FAILED` */
export function openPinnedProgram(path: string, attachType = 0): BpfProgram {
  const message = `cannot open the program pinned at ${path}`;
  const fd = checkResult(addon().openPinned(pathOf('path', path)), 'KMESH_BPF_PIN_FAILED', message, 'bpf');
  const info = addon().programInfo(fd);
  if (typeof info === 'number') {
    addon().closeDescriptor(fd);
    throw systemCallError(-info, 'KMESH_BPF_PIN_FAILED', message, 'bpf');
  }
  return new BpfProgram({ name: info.name, section: '', type: info.type, attachType, fd });
}

function openDirectory(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error ? Math.abs(Number(error.errno)) : 2;
    throw systemCallError(errno, 'KMESH_BPF_ATTACH_FAILED', `cannot open cgroup ${path}`, 'open');
  }
}
