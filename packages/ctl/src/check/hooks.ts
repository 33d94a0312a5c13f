import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { attachedPrograms } from '@kmesh/linux';

/** A program at one of the hooks that Kmesh uses. */
export interface HookProgram {
  readonly hook: string;
  readonly cgroup: string;
  readonly id: number;
  readonly name: string;
  readonly owner: 'Kmesh' | 'other';
  /** What it means beside Kmesh; empty when it is harmless. */
  readonly remark: string;
}

/** `bpf_attach_type` of each hook. */
const hooks: readonly (readonly [name: string, attachType: number])[] = [
  ['connect4', 10],
  ['connect6', 11],
  ['getpeername4', 29],
  ['getpeername6', 30],
  ['sockops', 3],
];

/** Software whose connect programs translate service addresses themselves, before or after Kmesh does. */
const translators: readonly (readonly [pattern: RegExp, remark: string])[] = [
  [
    /^(cil_sock|sock[46]_)/,
    'Cilium translates service addresses in connect, so Kmesh never sees them: set socketLB.hostNamespaceOnly=true in Cilium',
  ],
  [
    /^(calico|cali_ctlb)/,
    'Calico translates service addresses in connect, so Kmesh never sees them: set bpfConnectTimeLoadBalancing=Disabled in Calico',
  ],
];

/**
 * What runs at the hooks of Kmesh for sockets of a cgroup, in the order in which the kernel runs it: the cgroup's own
 * programs, then those of each cgroup above it.
 *
 * @param mount where cgroup v2 is mounted
 * @throws SystemCallError `KMESH_BPF_INFO_FAILED` when programs may not be listed
 */
export function hookPrograms(cgroup: string, mount: string): HookProgram[] {
  const found: HookProgram[] = [];
  for (const [hook, attachType] of hooks) {
    let kmesh = 0;
    for (const directory of upwards(cgroup, mount)) {
      for (const { id, name } of attachedPrograms(directory, attachType)) {
        const own = name.startsWith('kmesh_');
        if (own) kmesh++;
        const remark = own
          ? kmesh > 1
            ? 'a second Kmesh is attached: during an update that is right for a while, else stop one of them'
            : ''
          : remarkOf(hook, name);
        found.push({ hook, cgroup: directory, id, name, owner: own ? 'Kmesh' : 'other', remark });
      }
    }
  }
  return found;
}

function remarkOf(hook: string, name: string): string {
  const known = translators.find(([pattern]) => pattern.test(name));
  if (known !== undefined) return known[1];
  return hook.startsWith('connect')
    ? 'may change the dialled address; when it runs before Kmesh, Kmesh sees what it made of it'
    : '';
}

function* upwards(cgroup: string, mount: string): Generator<string> {
  for (let directory = cgroup; existsSync(directory); directory = dirname(directory)) {
    yield directory;
    if (directory === mount || directory.length <= mount.length) return;
  }
}
