import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { KmeshError } from '@kmesh/api';
import { type BpfObject, capability, openBpfObject } from '@kmesh/linux';
import type { JoinMaps, JoinPrograms } from '../options.ts';

const objectPath = fileURLToPath(new URL('../../../../build/bpf/passthrough.bpf.o', import.meta.url));

/**
 * Loads the program that joins the sockets of passthrough connections. It needs neither a cgroup nor a bpffs.
 *
 * @throws KMESH_JOIN_UNAVAILABLE naming what the kernel lacks; KMESH_BPF_LOAD_FAILED, KMESH_BPF_ATTACH_FAILED
 */
export async function loadJoinPrograms(instances: number): Promise<JoinPrograms> {
  for (const name of ['bpf', 'btf', 'stream-verdict', 'ring-buffer', 'mmap-array'] as const) {
    const { available, description, reason } = capability(name);
    if (!available)
      throw new KmeshError('KMESH_JOIN_UNAVAILABLE', `the kernel lacks ${description}: ${reason}`);
  }
  const bytes = await readFile(objectPath);
  using stack = new DisposableStack();
  const maps: JoinMaps[] = [];
  for (let instance = 0; instance < instances; instance++) {
    const object = openBpfObject(bytes, 'passthrough.bpf.o');
    stack.adopt<BpfObject>(object, (open) => open.close());
    await object.load();
    const fdOf = (name: string): number => object.map(name).fd;
    object.program('kmesh_join_verdict').attachSockMapForGood(object.map('join_peers'));
    maps.push({
      peers: fdOf('join_peers'),
      places: fdOf('join_places'),
      joins: fdOf('joins'),
      wakes: fdOf('join_wakes'),
    });
  }
  const owned = stack.move();
  return { maps, [Symbol.dispose]: () => owned.dispose() };
}
