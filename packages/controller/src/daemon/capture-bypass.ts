import { type BpfProgram, type Link, type NetworkNamespace, openPinnedLink, unpin } from '@kmesh/runtime';
import { runInNamespace } from './run-in-namespace.ts';

/** The interface over which a pod's traffic comes. */
const POD_INTERFACE = 'eth0';

/** Removing what may not be there: `add` makes it so that `delete` cannot fail. */
export const CAPTURE_TABLE_REMOVAL = 'add table inet kmesh\ndelete table inet kmesh\n';

/**
 * Not tracked means never redirected (design §4). Only the sixteen bits of the mark that are ours are looked at. A table
 * of its own: istio-cni flushes and rewrites its tables without asking.
 */
const RULES = `${CAPTURE_TABLE_REMOVAL}table inet kmesh {
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    meta mark & 0x0000ffff == 0x00004b4d notrack
  }
  chain output {
    type filter hook output priority raw; policy accept;
    meta mark & 0x0000ffff == 0x00004b4d notrack
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
  pin?: string,
): Promise<CaptureBypass> {
  const own = namespace.duplicate();
  let link: Link | undefined;
  const remove = async () => {
    try {
      // First the marks, then the rules: a marked packet that is tracked again would be redirected.
      if (pin !== undefined) unpin(pin);
      link?.close();
      await runInNamespace(own, ['nft', '-f', '-'], CAPTURE_TABLE_REMOVAL);
    } finally {
      own.close();
    }
  };
  try {
    await runInNamespace(own, ['nft', '-f', '-'], RULES);
    link = pin === undefined ? undefined : adopt(program, pin);
    if (link === undefined) {
      link = program.attachTc({ device: POD_INTERFACE, direction: 'ingress', namespace: own });
      if (pin !== undefined && link.pinnable) link.pin(pin);
    }
    return {
      remove,
      release: () => {
        link?.close();
        own.close();
      },
    };
  } catch (error) {
    await remove().catch(() => undefined);
    throw error;
  }
}

/** The attachment that an earlier daemon pinned, with this program in it: no packet passes without one of the two. */
function adopt(program: BpfProgram, pin: string): Link | undefined {
  let link: Link | undefined;
  try {
    link = openPinnedLink(pin);
    link.update(program);
    return link;
  } catch {
    link?.close();
    unpin(pin);
    return undefined;
  }
}
