import { rmSync } from 'node:fs';
import {
  type BpfProgram,
  type Link,
  linksAtInterface,
  type NetworkNamespace,
  openPinnedLink,
  removeFilter,
} from '@kmesh/linux';
import type { Pins } from '../programs/pins.ts';
import { runInNamespace } from './run-in-namespace.ts';

/** The interface over which a pod's traffic comes. */
const POD_INTERFACE = 'eth0';

/** Where our clsact filters are, on kernels without tcx: by this and the program's name they are known again. */
const FILTER_PLACE = { priority: 75, handle: 0x4b4d };

/** The program at the pods' interfaces. */
const INGRESS_PROGRAM = 'kmesh_ingress';

/** Removing what may not be there: `add` makes it so that `delete` cannot fail. */
export const CAPTURE_TABLE_REMOVAL = 'add table inet kmesh\ndelete table inet kmesh\n';

/**
 * Not tracked means never redirected (design §4). Only the sixteen bits of the mark that are ours are looked at. A table
 * of its own: istio-cni flushes and rewrites its tables without asking. The last two rows are the proxy's answers to what
 * the connect hook sent to it; its answers to what capture redirected come from 127.0.0.1 or ::1.
 */
const RULES = `${CAPTURE_TABLE_REMOVAL}table inet kmesh {
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    meta mark & 0x0000ffff == 0x00004b4d notrack
  }
  chain output {
    type filter hook output priority raw; policy accept;
    meta mark & 0x0000ffff == 0x00004b4d notrack accept
    oifname "lo" tcp sport 15001 ip saddr != 127.0.0.0/8 notrack
    oifname "lo" tcp sport 15001 ip6 saddr != ::1 notrack
  }
}
`;

/** What lets the kernel path's connections past istio-cni's rules in one pod. */
export interface CaptureBypass {
  /** Leaves nothing behind in the pod; the namespace may be gone already. */
  remove(): Promise<void>;
  /** Lets go; what is pinned stays at work. */
  release(): void;
}

/**
 * Installs the table `inet kmesh` and the ingress program in a pod.
 *
 * @throws KMESH_POD_COMMAND_FAILED when nft is missing or refuses; KMESH_BPF_ATTACH_FAILED
 */
export async function installCaptureBypass(
  namespace: NetworkNamespace,
  program: BpfProgram,
  pins?: Pins,
): Promise<CaptureBypass> {
  const own = namespace.duplicate();
  const pin = pins?.podPath(own.cookie);
  let link: Link | undefined;
  const remove = async () => {
    try {
      // First the marks, then the rules: a marked packet that is tracked again would be redirected.
      if (pin !== undefined) rmSync(pin, { force: true });
      if (link?.pinnable === false) link.detach();
      link?.close();
      await runInNamespace(own, ['nft', '-f', '-'], CAPTURE_TABLE_REMOVAL);
    } finally {
      own.close();
    }
  };
  try {
    await runInNamespace(own, ['nft', '-f', '-'], RULES);
    link = pins === undefined ? undefined : adopt(program, pins, own);
    if (link === undefined) {
      link = program.attachTc({
        device: POD_INTERFACE,
        direction: 'ingress',
        namespace: own,
        keep: FILTER_PLACE,
      });
      // A filter stays by itself; the pinned program says in which pods there is one.
      if (pin !== undefined) (link.pinnable ? link : program).pin(pin);
    }
    return {
      remove,
      release: () => {
        if (pin === undefined && link?.pinnable === false) link.detach();
        link?.close();
        own.close();
      },
    };
  } catch (error) {
    await remove().catch(() => undefined);
    throw error;
  }
}

/** Takes the filter of ours that a daemon left in a pod. @returns whether there was one */
export function removeLeftFilter(namespace: NetworkNamespace): boolean {
  const side = { device: POD_INTERFACE, direction: 'ingress', namespace } as const;
  return removeFilter(side, FILTER_PLACE, INGRESS_PROGRAM);
}

/**
 * The attachment that an earlier daemon pinned, with this program in it: no packet passes without one of the two. A link
 * that is not at this pod's interface is not the one.
 */
function adopt(program: BpfProgram, pins: Pins, namespace: NetworkNamespace): Link | undefined {
  const pin = pins.podPath(namespace.cookie);
  let link: Link | undefined;
  try {
    link = openPinnedLink(pin);
    const there = linksAtInterface({ device: POD_INTERFACE, direction: 'ingress', namespace });
    if (!there.includes(link.info().id)) throw new Error('it is attached elsewhere');
    const adopted = link;
    pins.whenParted(() => adopted.update(program));
    return link;
  } catch {
    link?.close();
    rmSync(pin, { recursive: true, force: true });
    return undefined;
  }
}
