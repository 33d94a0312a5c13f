import { addon } from './addon.ts';
import { type AttachableProgram, DirectAttachment, KernelLink, type Link, programById } from './bpf-link.ts';
import { capability } from './capabilities.ts';
import { checkResult, integerIn, pathOf, systemCallError } from './errors.ts';
import type { NetworkNamespace } from './network-namespace.ts';

const tcxIngress = 46;
const tcxEgress = 47;
const EEXIST = 17;
const ENOENT = 2;
const EINVAL = 22;
/** Errno values of kernels without a link type: EINVAL, EOPNOTSUPP, ENOTSUPP. */
const linkTypeUnknown: ReadonlySet<number> = new Set([EINVAL, 95, 524]);

/** A side of a network interface. */
export interface InterfaceSide {
  /** Interface name or index, in `namespace`. */
  readonly device: string | number;
  readonly direction: 'ingress' | 'egress';
  /** Namespace of the device; default: the process's. */
  readonly namespace?: NetworkNamespace;
}

/** Position of a clsact filter. */
interface FilterPlace {
  readonly priority: number;
  /** Not 0. */
  readonly handle: number;
}

/** Hook of a traffic-control program. */
export interface TrafficControlTarget extends InterfaceSide {
  /** Priority of a clsact filter; tcx does not use it. */
  readonly priority?: number;
  /**
   * Keeps a clsact filter beyond `close()` and the process, at this position. A filter there whose program has the same
   * name is replaced without a gap; any other stays, and attaching fails with EEXIST.
   */
  readonly keep?: FilterPlace;
  /** `auto` (default) uses tcx where the kernel has it, else clsact; the others never fall back. */
  readonly mechanism?: 'auto' | 'tcx' | 'clsact';
}

/** Attaches a program as `BpfProgram.attachTc` documents. */
export function attachTrafficControl(program: AttachableProgram, target: TrafficControlTarget): Link {
  const namespace = target.namespace?.fd ?? -1;
  const egress = target.direction === 'egress';
  const label = labelOf(target);
  const index = interfaceIndex(target, program.name);
  const mechanism = target.mechanism ?? (capability('tcx').available ? 'auto' : 'clsact');
  if (mechanism !== 'clsact') {
    const fd = addon().linkCreate(program.fd, index, egress ? tcxEgress : tcxIngress, namespace);
    if (fd >= 0) return new KernelLink(fd, label);
    if (mechanism === 'tcx' || !linkTypeUnknown.has(-fd)) attached(fd, program.name, label);
  }
  return attachFilter(program, index, target, label);
}

/** Returns the ids of the tcx links at a side of an interface; empty where the kernel has no tcx. */
export function linksAtInterface(side: InterfaceSide): number[] {
  const index = interfaceIndex(side, 'links');
  const type = side.direction === 'egress' ? tcxEgress : tcxIngress;
  const ids = addon().interfaceLinks(index, type, side.namespace?.fd ?? -1);
  return typeof ids === 'number' ? [] : ids;
}

/** Returns the names of the tcx programs at a side of an interface, in execution order. */
export function programsAtInterface(side: InterfaceSide): string[] {
  const index = interfaceIndex(side, 'programs');
  const type = side.direction === 'egress' ? tcxEgress : tcxIngress;
  const ids = addon().programQuery(index, type, side.namespace?.fd ?? -1);
  return typeof ids === 'number' ? [] : ids.map((id) => programById(id)?.name ?? '');
}

/**
 * Returns the program names of the clsact filters at a side of an interface; empty for filters of other kinds.
 *
 * @throws SystemCallError `KMESH_INTERFACE_LIST_FAILED`
 */
export function filtersAtInterface(side: InterfaceSide): string[] {
  const index = interfaceIndex(side, 'filters');
  const names = addon().filterList(index, side.direction === 'egress', side.namespace?.fd ?? -1);
  if (typeof names !== 'number') return names;
  const message = `cannot list the filters at ${labelOf(side)}`;
  throw systemCallError(-names, 'KMESH_INTERFACE_LIST_FAILED', message, 'netlink');
}

/**
 * Removes the clsact filter at a position if its program has this name.
 *
 * @returns whether a filter was removed; false if the interface does not exist
 */
export function removeFilter(side: InterfaceSide, place: FilterPlace, programName: string): boolean {
  const namespace = side.namespace?.fd ?? -1;
  const egress = side.direction === 'egress';
  const index =
    typeof side.device === 'number' ? side.device : addon().interfaceIndex(side.device, namespace);
  if (index <= 0) return false;
  const { handle, priority } = place;
  const id = addon().filterProgram(index, egress, handle, priority, namespace);
  if (id <= 0 || programById(id)?.name !== programName) return false;
  return addon().filterDetach(index, egress, handle, priority, namespace) === 0;
}

function attachFilter(
  program: AttachableProgram,
  index: number,
  target: TrafficControlTarget,
  label: string,
): Link {
  const egress = target.direction === 'egress';
  const { keep } = target;
  const priority = integerIn('priority', keep?.priority ?? target.priority ?? 1, 1, 65535);
  const handle = keep === undefined ? 0 : integerIn('handle', keep.handle, 1, 0xffff_ffff);
  // Duplicated, so that detaching works after the caller has closed its handle.
  const namespace = target.namespace?.duplicate();
  const inside = () => namespace?.fd ?? -1;
  const replaces = keep !== undefined && isOwn(program.name, index, egress, keep, inside());
  const filter = addon().filterAttach(program.fd, index, egress, priority, inside(), handle, replaces);
  if (typeof filter === 'number') {
    namespace?.close();
    throw systemCallError(-filter, 'KMESH_BPF_ATTACH_FAILED', cannotAttach(program.name, label), 'bpf');
  }
  const id = program.info().id;
  const detach = () => {
    // Another instance has replaced it.
    const there = addon().filterProgram(index, egress, filter.handle, filter.priority, inside());
    if (there > 0 && there !== id) {
      namespace?.close();
      return 0;
    }
    const result = addon().filterDetach(index, egress, filter.handle, filter.priority, inside());
    namespace?.close();
    return result;
  };
  return new DirectAttachment(label, detach, undefined, keep && (() => namespace?.close()));
}

/** @throws SystemCallError EEXIST if another program's filter is at the position */
function isOwn(
  name: string,
  index: number,
  egress: boolean,
  { handle, priority }: FilterPlace,
  namespace: number,
): boolean {
  const id = addon().filterProgram(index, egress, handle, priority, namespace);
  if (id === -ENOENT || id === -EINVAL) return false;
  const message = cannotAttach(name, `the filter ${handle} of priority ${priority}`);
  if (id <= 0) throw systemCallError(-id, 'KMESH_BPF_ATTACH_FAILED', message, 'bpf');
  const found = programById(id)?.name;
  if (found === name) return true;
  throw systemCallError(
    EEXIST,
    'KMESH_BPF_ATTACH_FAILED',
    `${message}, which is ${found ?? 'not ours'}`,
    'bpf',
  );
}

function interfaceIndex(side: InterfaceSide, name: string): number {
  const { device, namespace } = side;
  if (typeof device === 'number') return integerIn('device', device, 1, 0x7fff_ffff);
  const index = addon().interfaceIndex(pathOf('device', device, 15), namespace?.fd ?? -1);
  return attached(index, name, labelOf(side));
}

function labelOf({ direction, device }: InterfaceSide): string {
  return `${direction} of interface ${device}`;
}

function attached(result: number, name: string, target: string): number {
  return checkResult(result, 'KMESH_BPF_ATTACH_FAILED', cannotAttach(name, target), 'bpf');
}

function cannotAttach(name: string, target: string): string {
  return `cannot attach program ${name} to ${target}`;
}
