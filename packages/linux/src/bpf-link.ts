import { closeSync, openSync, unlinkSync } from 'node:fs';
import { addon } from './addon.ts';
import { OwnedDescriptor } from './descriptors.ts';
import { checkResult, invalidArgument, pathOf, systemCallError } from './errors.ts';

/** The part of a program that a link needs. */
export interface AttachableProgram {
  readonly fd: number;
  readonly name: string;
  info(): ProgramInfo;
}

/** A link's attributes as the kernel reports them. `type` is a `bpf_link_type`. */
interface LinkInfo {
  readonly id: number;
  readonly type: number;
  readonly programId: number;
  /** Index of the interface, for a link to one; 0 after the interface is gone. */
  readonly interfaceIndex?: number;
}

/**
 * A program at its hook. It stays attached while this object or a pin holds it; `close()` without a pin detaches.
 */
export interface Link extends Disposable {
  /** Name of the hook, for messages. */
  readonly target: string;
  /** Whether {@link Link.pin}, `update` and `info` work; false for clsact filters. */
  readonly pinnable: boolean;
  /** Pins the link at `path` on bpffs, so that it outlives the process. @throws KmeshError `KMESH_BPF_PIN_FAILED` */
  pin(path: string): void;
  /** Replaces the attached program without a gap. @throws KmeshError `KMESH_BPF_ATTACH_FAILED` */
  update(program: AttachableProgram): void;
  /** Detaches at once, even if pins hold the link. @throws KmeshError `KMESH_BPF_ATTACH_FAILED` */
  detach(): void;
  info(): LinkInfo;
  /** Closes the descriptor; the program is detached unless a pin holds the link. */
  close(): void;
}

/** A `bpf_link` of the kernel. */
export class KernelLink implements Link {
  readonly target: string;
  readonly pinnable = true;
  readonly #descriptor: OwnedDescriptor;

  /** Takes ownership of `fd`. */
  constructor(fd: number, target: string) {
    this.#descriptor = new OwnedDescriptor(fd, `link to ${target}`);
    this.target = target;
  }

  get fd(): number {
    return this.#descriptor.fd;
  }

  pin(path: string): void {
    const result = addon().pin(this.fd, pathOf('path', path));
    checkResult(result, 'KMESH_BPF_PIN_FAILED', `cannot pin the link to ${this.target} at ${path}`, 'bpf');
  }

  update(program: AttachableProgram): void {
    const result = addon().linkUpdate(this.fd, program.fd);
    const message = `cannot replace the program of the link to ${this.target} by ${program.name}`;
    checkResult(result, 'KMESH_BPF_ATTACH_FAILED', message, 'bpf');
  }

  detach(): void {
    const result = addon().linkDetach(this.fd);
    checkResult(result, 'KMESH_BPF_ATTACH_FAILED', `cannot detach from ${this.target}`, 'bpf');
    this.close();
  }

  info(): LinkInfo {
    const info = addon().linkInfo(this.fd);
    if (typeof info !== 'number') return info;
    throw systemCallError(-info, 'KMESH_BPF_ATTACH_FAILED', `cannot read the link to ${this.target}`, 'bpf');
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** An attachment without a `bpf_link` (a clsact filter). `close()` detaches it unless it is kept. */
export class DirectAttachment implements Link {
  readonly target: string;
  readonly pinnable = false;
  #detach: (() => number) | undefined;
  readonly #replace: ((program: AttachableProgram) => number) | undefined;
  readonly #letGo: (() => void) | undefined;

  /** @param letGo - called by `close()` instead of `detach`; leaves the attachment in place */
  constructor(
    target: string,
    detach: () => number,
    replace?: (program: AttachableProgram) => number,
    letGo?: () => void,
  ) {
    this.target = target;
    this.#detach = detach;
    this.#replace = replace;
    this.#letGo = letGo;
  }

  pin(): void {
    throw invalidArgument(`the attachment to ${this.target}`, 'without a link', 'a link to be pinned');
  }

  update(program: AttachableProgram): void {
    if (this.#replace === undefined) {
      throw invalidArgument(`the attachment to ${this.target}`, 'without a link', 'a link to be updated');
    }
    const message = `cannot replace the program at ${this.target}`;
    checkResult(this.#replace(program), 'KMESH_BPF_ATTACH_FAILED', message, 'bpf');
  }

  detach(): void {
    const detach = this.#detach;
    if (detach === undefined) return;
    checkResult(detach(), 'KMESH_BPF_ATTACH_FAILED', `cannot detach from ${this.target}`, 'bpf');
    this.#detach = undefined;
  }

  info(): LinkInfo {
    throw invalidArgument(`the attachment to ${this.target}`, 'without a link', 'a link to have kernel info');
  }

  close(): void {
    const detach = this.#detach;
    this.#detach = undefined;
    if (detach !== undefined) (this.#letGo ?? detach)();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens the link that is pinned at `path`. @throws SystemCallError `KMESH_BPF_PIN_FAILED` */
export function openPinnedLink(path: string): Link {
  const fd = addon().openPinned(pathOf('path', path));
  const message = `cannot open the link pinned at ${path}`;
  return new KernelLink(checkResult(fd, 'KMESH_BPF_PIN_FAILED', message, 'bpf'), path);
}

/** Removes a pin; returns whether there was one. The object stays while something else holds it. */
export function unpin(path: string): boolean {
  try {
    unlinkSync(pathOf('path', path));
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** A loaded program's attributes. Run figures stay 0 unless `enableProgramStatistics` is in effect. */
export interface ProgramInfo {
  readonly id: number;
  /** A `bpf_prog_type`. */
  readonly type: number;
  readonly name: string;
  /** Total duration of all runs, in nanoseconds. */
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
  /** Instructions that the verifier processed. */
  readonly verifiedInstructions: number;
  /** Size of the translated program; one instruction is 8 bytes. 0 without permission to read it. */
  readonly translatedBytes: number;
  /** Size of the machine code; 0 if the kernel interprets the program. */
  readonly machineCodeBytes: number;
}

/** Returns the ids of the programs at a cgroup's `bpf_attach_type`, other software's included. */
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

/**
 * Returns the programs at a cgroup's `bpf_attach_type` in execution order, other software's included. Programs that are
 * unloaded meanwhile are left out.
 *
 * @throws SystemCallError `KMESH_BPF_INFO_FAILED`
 */
export function attachedPrograms(cgroup: string, attachType: number): ProgramInfo[] {
  return attachedProgramIds(cgroup, attachType).flatMap((id) => programById(id) ?? []);
}

/** Returns the attributes of the program with this id; undefined if there is none. */
export function programById(id: number): ProgramInfo | undefined {
  const fd = addon().programOpen(id);
  if (fd < 0) return undefined;
  const info = addon().programInfo(fd);
  addon().closeDescriptor(fd);
  return typeof info === 'number' ? undefined : info;
}

/** Opens a cgroup directory. @throws SystemCallError `KMESH_BPF_ATTACH_FAILED` */
export function openDirectory(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const errno = error instanceof Error && 'errno' in error ? Math.abs(Number(error.errno)) : 2;
    throw systemCallError(errno, 'KMESH_BPF_ATTACH_FAILED', `cannot open cgroup ${path}`, 'open');
  }
}
