import { unlinkSync } from 'node:fs';
import { addon } from './addon.ts';
import type { BpfProgram } from './bpf-program.ts';
import { checkResult, invalidArgument, systemCallError } from './errors.ts';
import { OwnedDescriptor } from './owned-descriptor.ts';
import { pathOf } from './validate.ts';

/** What the kernel says about a link. `type` is a `bpf_link_type`. */
interface LinkInfo {
  readonly id: number;
  readonly type: number;
  readonly programId: number;
}

/**
 * A program at its hook. It stays attached while this object or a pin holds it; `close()` without a pin detaches.
 */
export interface Link extends Disposable {
  /** Where the program is attached, for people. */
  readonly target: string;
  /** Whether {@link Link.pin}, `update` and `info` work; not so for clsact filters. */
  readonly pinnable: boolean;
  /** Makes the attachment outlive the process, at `path` on bpffs. @throws KmeshError `KMESH_BPF_PIN_FAILED` */
  pin(path: string): void;
  /** Replaces the attached program without a gap. @throws KmeshError `KMESH_BPF_ATTACH_FAILED` */
  update(program: BpfProgram): void;
  /** Detaches now, even when pins hold the link. @throws KmeshError `KMESH_BPF_ATTACH_FAILED` */
  detach(): void;
  info(): LinkInfo;
  /** Lets go; the program is detached unless a pin holds the link. */
  close(): void;
}

/** A link that the kernel keeps as an object with a descriptor. */
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

  update(program: BpfProgram): void {
    const result = addon().linkUpdate(this.fd, program.fd);
    const message = `cannot put program ${program.name} into the link to ${this.target}`;
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

/** An attachment that is not a kernel object and cannot be pinned. It ends with `close()`, unless it is to be kept. */
export class DirectAttachment implements Link {
  readonly target: string;
  readonly pinnable = false;
  #detach: (() => number) | undefined;
  readonly #replace: ((program: BpfProgram) => number) | undefined;
  readonly #letGo: (() => void) | undefined;

  /** @param letGo - makes `close()` leave the attachment where it is, and is called then */
  constructor(
    target: string,
    detach: () => number,
    replace?: (program: BpfProgram) => number,
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

  update(program: BpfProgram): void {
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

/** Removes a pin; true when there was one. The object lives on while something else holds it. */
export function unpin(path: string): boolean {
  try {
    unlinkSync(pathOf('path', path));
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
