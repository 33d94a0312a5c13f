import { existsSync, rmSync } from 'node:fs';
import {
  type BpfProgram,
  capability,
  filtersAtInterface,
  type InterfaceSide,
  type Link,
  linksAtInterface,
  listInterfaces,
  type NetworkNamespace,
  openPinnedLink,
  programsAtInterface,
  removeFilter,
} from '@kmesh/linux';
import type { Pins } from '../programs/pins.ts';
import type { WireEnd } from '../tables/pods.ts';
import { CAPTURE_TABLE, OWN_TABLE_REMOVAL } from './capture-table.ts';
import type { NodeSide, PodInterface } from './node-side.ts';
import { runInNamespace } from './run-in-namespace.ts';

/** The interface of a pod's traffic, if its node side cannot be seen. */
const POD_INTERFACE = 'eth0';

/** Place of our clsact filters, on kernels without tcx; this and the program's name identify them. */
const FILTER_PLACE = { priority: 75, handle: 0x4b4d };

/** The programs at the pods' side of their interfaces, and at the node's. */
const INGRESS_PROGRAM = 'kmesh_ingress';
const WIRE_PROGRAM = 'kmesh_wire';

/** Lets the kernel path's connections bypass istio-cni's rules in one pod. */
export interface CaptureBypass {
  /** Where the wire is attached to the pod's interfaces, by the pod's addresses. */
  readonly wire: ReadonlyMap<string, WireEnd>;
  /** Removes everything from the pod; the namespace may be gone already. */
  remove(): Promise<void>;
  /** Closes descriptors; pinned programs continue. */
  release(): void;
}

/** The programs that {@link installCaptureBypass} installs, and the pins that keep them. */
export interface BypassParts {
  readonly ingress: BpfProgram;
  readonly wire: BpfProgram;
  readonly node: NodeSide;
  readonly pins: Pins | undefined;
}

interface Attachment {
  /** Absent while an earlier daemon's filter stays in its place, and after closing. */
  link: Link | undefined;
  readonly pin: string | undefined;
  ended: boolean;
}

/**
 * Installs the table `inet kmesh`, the ingress program and the wire of a pod.
 *
 * @throws KMESH_POD_COMMAND_FAILED when nft is missing or refuses; KMESH_BPF_ATTACH_FAILED
 */
export async function installCaptureBypass(
  namespace: NetworkNamespace,
  parts: BypassParts,
): Promise<CaptureBypass> {
  const own = namespace.duplicate();
  const attachments: Attachment[] = [];
  const remove = async () => {
    try {
      // Remove the marks before the rules: a marked connection that is no longer claimed would be redirected.
      for (const attachment of attachments) takeAway(attachment);
      await runInNamespace(own, ['nft', '-f', '-'], OWN_TABLE_REMOVAL);
    } finally {
      own.close();
    }
  };
  try {
    await runInNamespace(own, ['nft', '-f', '-'], CAPTURE_TABLE);
    const seen = parts.node.interfacesOf(own);
    const pods: readonly (PodInterface | string)[] = seen?.interfaces ?? [POD_INTERFACE];
    for (const at of pods) {
      const device = typeof at === 'string' ? at : at.index;
      const side = { device, direction: 'ingress', namespace: own } as const;
      attachments.push(attach(parts.ingress, side, parts.pins, parts.pins?.podPath(own.cookie, `${device}`)));
    }
    const wire = new Map<string, WireEnd>();
    for (const { nodeInterface, mac, addresses } of seen?.interfaces ?? []) {
      const side = { device: nodeInterface, direction: 'ingress', namespace: seen?.node } as InterfaceSide;
      const delivered = isFree(side);
      attachments.push(
        attach(parts.wire, side, parts.pins, parts.pins?.podPath(own.cookie, `wire-${nodeInterface}`)),
      );
      for (const address of addresses) wire.set(address, { nodeInterface, mac, delivered });
    }
    return {
      wire,
      remove,
      release: () => {
        for (const attachment of attachments) {
          const { link, pin } = attachment;
          attachment.ended = true;
          if (pin === undefined && link?.pinnable === false) link.detach();
          link?.close();
        }
        own.close();
      },
    };
  } catch (error) {
    await remove().catch(() => undefined);
    throw error;
  }
}

/**
 * Removes our filters that a daemon left at the interfaces of a namespace: a pod's, or the node's with its side of the
 * pods' interfaces.
 *
 * @returns whether there was one
 * @throws SystemCallError `KMESH_INTERFACE_LIST_FAILED`
 */
export function removeLeftFilters(namespace: NetworkNamespace): boolean {
  let found = false;
  for (const { index } of listInterfaces(namespace, namespace)) {
    if (removeLeftFilter(namespace, index)) found = true;
  }
  return found;
}

/** As {@link removeLeftFilters}, of one interface. */
export function removeLeftFilter(namespace: NetworkNamespace, device: number): boolean {
  const side = { device, direction: 'ingress', namespace } as const;
  return [INGRESS_PROGRAM, WIRE_PROGRAM].some((program) => removeFilter(side, FILTER_PLACE, program));
}

function attach(
  program: BpfProgram,
  side: InterfaceSide,
  pins: Pins | undefined,
  pin: string | undefined,
): Attachment {
  const attachment: Attachment = { link: undefined, pin, ended: false };
  const attachNow = () => {
    if (attachment.ended) return;
    const link = program.attachTc({ ...side, keep: FILTER_PLACE });
    attachment.link = link;
    if (pin === undefined) return;
    rmSync(pin, { force: true });
    // A filter has no link to pin; the pinned program records which pods have one.
    (link.pinnable ? link : program).pin(pin);
  };
  if (pins === undefined || pin === undefined) {
    attachNow();
    return attachment;
  }
  const isFilter = existsSync(pin) && !capability('tcx').available;
  attachment.link = isFilter ? undefined : adopt(program, side, pins, pin);
  if (isFilter) pins.whenParted(attachNow);
  else if (attachment.link === undefined) attachNow();
  return attachment;
}

/**
 * Opens an attachment that an earlier daemon pinned and replaces its program, so no packet passes without one of the
 * two. Refuses a link that is not at this interface.
 */
function adopt(program: BpfProgram, side: InterfaceSide, pins: Pins, pin: string): Link | undefined {
  let link: Link | undefined;
  try {
    link = openPinnedLink(pin);
    if (!linksAtInterface(side).includes(link.info().id)) throw new Error('it is attached elsewhere');
    const adopted = link;
    pins.whenParted(() => adopted.update(program));
    return link;
  } catch {
    link?.close();
    rmSync(pin, { recursive: true, force: true });
    return undefined;
  }
}

function takeAway(attachment: Attachment): void {
  const { link, pin } = attachment;
  attachment.ended = true;
  if (pin !== undefined) rmSync(pin, { force: true });
  try {
    if (link?.pinnable === false) link.detach();
  } finally {
    link?.close();
  }
}

/**
 * Returns whether no other software has a program at this hook: a program after ours would not see packets that ours
 * delivers. False if that cannot be determined.
 */
function isFree(side: InterfaceSide): boolean {
  if (side.namespace === undefined) return false;
  try {
    return [...programsAtInterface(side), ...filtersAtInterface(side)].every((name) => name === WIRE_PROGRAM);
  } catch {
    return false;
  }
}
