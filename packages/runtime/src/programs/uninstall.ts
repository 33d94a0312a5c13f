import { readlinkSync } from 'node:fs';
import { KmeshError } from '@kmesh/api';
import {
  attachedProgramIds,
  findBpffsMount,
  mapsOfProgram,
  type NetworkNamespace,
  openNetworkNamespace,
  programById,
} from '@kmesh/linux';
import { removeLeftFilter, removeLeftFilters } from '../pods/capture-bypass.ts';
import { CAPTURE_TABLE_REMOVAL } from '../pods/capture-table.ts';
import type { NodeSide } from '../pods/node-side.ts';
import { runInNamespace } from '../pods/run-in-namespace.ts';
import { kmeshLeaseLayout } from '../tables/gen/layouts.ts';
import { hashOfNode } from '../tables/lease.ts';
import { entriesOf, pinnedPods, removePins } from './pins.ts';

/** Result of {@link uninstall}. */
interface Uninstalled {
  /** Directory of the pins, if there were any. */
  readonly pins: string | undefined;
  /** Network namespaces from which the table `inet kmesh` was removed. */
  readonly namespaces: number;
}

/**
 * Removes everything of the kernel path from this node, of any version: programs, maps and pins, filters, and the
 * table in the network namespaces of pods that the pins name or that have our filter. Open kernel-path connections
 * continue through the node's stack: conntrack has them as admitted, and they are no longer judged. No daemon may run.
 *
 * @throws KMESH_PODS_OUT_OF_SIGHT before anything is removed, if a pod that the pins name cannot be found by process or
 * name; KMESH_POD_COMMAND_FAILED when a table cannot be removed
 */
export async function uninstall(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Uninstalled> {
  const mount = findBpffsMount();
  const root = environment['KMESH_PINS'] ?? (mount === undefined ? undefined : `${mount}/kmesh`);
  const pods = root === undefined ? new Set<bigint>() : pinnedPods(root);
  const visible = [...visibleNamespaces()];
  try {
    const cookies = new Set(visible.map(({ cookie }) => cookie));
    const hidden = [...pods].filter((cookie) => !cookies.has(cookie)).length;
    if (hidden > 0)
      throw new KmeshError(
        'KMESH_PODS_OUT_OF_SIGHT',
        `nothing was removed: ${root}/pods names ${hidden} network namespaces of pods that no process in /proc and no name ` +
          'in /run/netns leads to; run it on the node itself, or in a container with hostPID: true',
      );
    const found = root !== undefined && removePins(root);
    let namespaces = 0;
    for (const namespace of visible) {
      // A daemon without pins may have left a filter.
      const filtered = removeLeftFilters(namespace);
      if ((filtered || pods.has(namespace.cookie)) && (await removeTable(namespace))) namespaces++;
    }
    return { pins: found ? root : undefined, namespaces };
  } finally {
    for (const namespace of visible) namespace.close();
  }
}

async function removeTable(namespace: NetworkNamespace): Promise<boolean> {
  const tables = await runInNamespace(namespace, ['nft', 'list', 'tables', 'inet']);
  if (!tables.split('\n').includes('table inet kmesh')) return false;
  await runInNamespace(namespace, ['nft', '-f', '-'], CAPTURE_TABLE_REMOVAL);
  return true;
}

/**
 * Removes the filters of pods that left the mesh while no daemon ran, on both sides of their interfaces, if their
 * namespaces are visible.
 */
export function removeFiltersOf(cookies: readonly bigint[], nodeSide: NodeSide): void {
  if (cookies.length === 0) return;
  for (const namespace of visibleNamespaces()) {
    try {
      if (!cookies.includes(namespace.cookie)) continue;
      removeLeftFilters(namespace);
      const seen = nodeSide.interfacesOf(namespace);
      for (const { nodeInterface } of seen?.interfaces ?? []) {
        if (seen !== undefined) removeLeftFilter(seen.node, nodeInterface);
      }
    } catch {
      // Without a lease a filter that stays decides nothing.
    } finally {
      namespace.close();
    }
  }
}

/** Opens each visible network namespace once. */
function* visibleNamespaces(): Generator<NetworkNamespace> {
  const seen = new Set<string>();
  const paths = entriesOf('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => `/proc/${pid}/ns/net`);
  for (const directory of ['/run/netns', '/var/run/netns']) {
    paths.push(...entriesOf(directory).map((name) => `${directory}/${name}`));
  }
  for (const path of paths) {
    const link = readLink(path);
    if (link !== undefined && seen.has(link)) continue;
    if (link !== undefined) seen.add(link);
    try {
      yield openNetworkNamespace(path);
    } catch {
      // The process is gone, or the name is not a namespace.
    }
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** `BPF_CGROUP_SOCK_OPS`: each set has one program there. */
const SOCK_OPS = 3;
const SOCK_OPS_PROGRAM = 'kmesh_sockops';

/**
 * Ends the leases of the sets of programs that other daemons of a node left, or still serve, at a cgroup. Once it
 * returns they decide nothing, and their connections are left to capture. Returns the number of leases ended.
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
 * Ends the lease of a program of a node, and so of its set; returns the number of leases ended.
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
