import { closeSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { addon } from './addon.ts';
import { KernelLink, type Link, openDirectory, type ProgramInfo } from './bpf-link.ts';
import { BpfMap } from './bpf-map.ts';
import { OwnedDescriptor } from './descriptors.ts';
import { checkResult, integerIn, pathOf, systemCallError } from './errors.ts';
import { attachTrafficControl, type TrafficControlTarget } from './traffic-control.ts';

/** A program's translated instructions (8 bytes each) and its functions in order. */
export interface ProgramCode {
  readonly instructions: Uint8Array;
  /** Empty without BTF in the object. `type` is the function's id in the object's BTF. */
  readonly functions: readonly { readonly start: number; readonly type: number }[];
}

/** A loaded program. */
export class BpfProgram implements Disposable {
  readonly name: string;
  /** ELF section, which names the hook, such as `cgroup/connect4`. */
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
   * Attaches to a cgroup v2 directory (path or descriptor), beside other programs (`BPF_F_ALLOW_MULTI`).
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
   * Attaches to a network interface: as a tcx link on Linux 6.6 or later, else as a clsact filter, which cannot be
   * pinned but kept, see `TrafficControlTarget.keep`.
   *
   * @throws SystemCallError `KMESH_BPF_ATTACH_FAILED`
   */
  attachTc(target: TrafficControlTarget): Link {
    return attachTrafficControl(this, target);
  }

  /** Returns the program's attributes and run figures. @throws SystemCallError `KMESH_BPF_INFO_FAILED` */
  info(): ProgramInfo {
    const info = addon().programInfo(this.fd);
    if (typeof info !== 'number') return info;
    throw systemCallError(-info, 'KMESH_BPF_INFO_FAILED', `cannot read program ${this.name}`, 'bpf');
  }

  /** Returns the translated program. @throws SystemCallError `KMESH_BPF_INFO_FAILED` */
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
   * Runs the program `repeat` times on `data` without a hook (BPF_PROG_TEST_RUN), for program types that support it;
   * more often if a signal interrupts. `durationNs` is the mean of one run.
   *
   * @throws SystemCallError `KMESH_BPF_RUN_FAILED`
   */
  testRun(data: Uint8Array, repeat = 1): { result: number; durationNs: number } {
    const answer = addon().programTestRun(this.fd, data, integerIn('repeat', repeat, 1, 0x7fff_ffff));
    if (typeof answer !== 'number') return answer;
    throw systemCallError(-answer, 'KMESH_BPF_RUN_FAILED', `cannot run program ${this.name}`, 'bpf');
  }

  /**
   * Runs a program of section `syscall` on a thread of libuv's pool and returns its context after the run. Requires
   * Linux 5.14.
   *
   * @throws SystemCallError `KMESH_BPF_RUN_FAILED`
   */
  async run(context: Uint8Array): Promise<Uint8Array> {
    const answer = await addon().programRun(this.fd, context);
    if (typeof answer !== 'number') return answer;
    throw systemCallError(-answer, 'KMESH_BPF_RUN_FAILED', `cannot run program ${this.name}`, 'bpf');
  }

  /**
   * Pins the program at `path` on bpffs, so that it outlives the process. @throws SystemCallError
   * `KMESH_BPF_PIN_FAILED`
   */
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

/**
 * Opens the maps that a program uses; returns none if the program is gone. The caller closes them.
 *
 * @throws SystemCallError `KMESH_BPF_INFO_FAILED`, `KMESH_BPF_PERMISSION` without permission to open them
 */
export function mapsOfProgram(id: number): BpfMap[] {
  const message = `cannot open the maps of program ${id}`;
  const program = addon().programOpen(id);
  if (program === -osConstants.errno.ENOENT) return [];
  checkResult(program, 'KMESH_BPF_INFO_FAILED', message, 'bpf');
  const opened: BpfMap[] = [];
  try {
    const maps = addon().programMaps(program);
    if (typeof maps === 'number') throw systemCallError(-maps, 'KMESH_BPF_INFO_FAILED', message, 'bpf');
    for (const map of maps)
      opened.push(new BpfMap(checkResult(addon().mapOpen(map), 'KMESH_BPF_INFO_FAILED', message, 'bpf')));
    return opened;
  } catch (error) {
    for (const map of opened) map.close();
    throw error;
  } finally {
    addon().closeDescriptor(program);
  }
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
