import { attachedProgramIds, mapsOfProgram, programById } from '@kmesh/linux';
import { kmeshLeaseLayout } from '../tables/gen/layouts.ts';
import { hashOfNode } from '../tables/lease.ts';

/** `BPF_CGROUP_SOCK_OPS`: one program of each set is there. */
const SOCK_OPS = 3;
const SOCK_OPS_PROGRAM = 'kmesh_sockops';

/**
 * Ends the leases of the sets of programs that other daemons of a node left at a cgroup, or still serve: from the return on these
 * decide nothing, and what they would have decided is left to capture. How many there were.
 *
 * @param own id of a program whose set is left alone
 * @throws SystemCallError `KMESH_BPF_INFO_FAILED`
 */
export function endOtherLeases(cgroup: string, node: string, own?: number): number {
  let ended = 0;
  for (const id of attachedProgramIds(cgroup, SOCK_OPS)) {
    if (id === own || programById(id)?.name !== SOCK_OPS_PROGRAM) continue;
    ended += endLeaseOf(id, node);
  }
  return ended;
}

/**
 * Ends the lease of a program of a node, and so of its set: how many leases that were.
 *
 * @throws SystemCallError `KMESH_BPF_INFO_FAILED`
 */
export function endLeaseOf(program: number, node: string): number {
  let ended = 0;
  for (const map of mapsOfProgram(program)) {
    using owned = map;
    if (owned.info.name !== 'lease' || owned.info.valueSize < kmeshLeaseLayout.checked) continue;
    const memory = owned.mmap();
    if (new DataView(memory).getUint32(kmeshLeaseLayout.node, true) !== hashOfNode(node)) continue;
    const until = new BigUint64Array(memory, kmeshLeaseLayout.untilNs, 1);
    if (Atomics.exchange(until, 0, 0n) !== 0n) ended++;
  }
  return ended;
}
