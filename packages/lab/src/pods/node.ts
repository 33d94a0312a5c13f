import { randomUUID } from 'node:crypto';
import { KmeshError } from '@kmesh/api';
import { POD_PREFIX, podAddress } from '../network/addresses.ts';
import { createCgroup, removeCgroup } from '../network/cgroups.ts';
import { ipBatch } from '../network/commands.ts';
import { createNamespace, deleteNamespaces } from '../network/namespaces.ts';
import { Host, type HostPlace, type LabResources } from './host.ts';
import { Pod, type PodOptions } from './pod.ts';

/** Name of the bridge that connects a node's pods. */
export const POD_BRIDGE = 'pods';

/** A node: a host that routes, with a bridge for its pods. Made by `lab.node`. */
export class Node extends Host {
  readonly #index: number;
  readonly #mtu: number;
  readonly #resources: LabResources;
  readonly #pods = new Map<string, Pod>();
  /** Host number 1 of the pod network is the bridge. */
  #lastAddress = 1;

  constructor(place: HostPlace, index: number, mtu: number, resources: LabResources) {
    super(place, resources);
    this.#index = index;
    this.#mtu = mtu;
    this.#resources = resources;
  }

  /** The node's pods, in order of creation. */
  get pods(): readonly Pod[] {
    return [...this.#pods.values()];
  }

  /**
   * Makes a pod: a namespace with eth0 (both families) behind the node's bridge, and a cgroup.
   *
   * @throws KMESH_LAB_DUPLICATE when the node has a pod of this name.
   */
  async pod(options: PodOptions): Promise<Pod> {
    if (this.#pods.has(options.name)) {
      throw new KmeshError('KMESH_LAB_DUPLICATE', `The node ${this.name} already has a pod ${options.name}.`);
    }
    this.#lastAddress += 1;
    const host = this.#lastAddress;
    const place = {
      name: options.name,
      namespace: `${this.namespace}.${options.name}`,
      cgroup: `${this.cgroup}/${options.name}`,
      addresses: podAddress(this.#index, host),
    };
    const pod = new Pod(
      place,
      {
        uid: randomUUID(),
        podNamespace: options.namespace ?? 'default',
        serviceAccount: options.serviceAccount ?? 'default',
        labels: options.labels ?? {},
        node: this.name,
      },
      this.#resources,
    );
    this.#pods.set(options.name, pod);
    createCgroup(place.cgroup);
    await createNamespace(place.namespace);
    await this.#connect(place, `pod${host}`);
    return pod;
  }

  /** Removes a pod immediately: its processes, its namespace, its cgroup. */
  removePod(pod: Pod): void {
    this.#pods.delete(pod.name);
    const problem = removeCgroup(pod.cgroup) ?? deleteNamespaces([pod.namespace]);
    if (problem !== undefined) throw new KmeshError('KMESH_LAB_CLEANUP', `Pod ${pod.name}: ${problem}`);
  }

  async #connect(place: HostPlace, device: string): Promise<void> {
    const gateway = podAddress(this.#index, 1);
    await ipBatch(this.namespace, [
      `link add ${device} mtu ${this.#mtu} type veth peer name eth0 mtu ${this.#mtu} netns ${place.namespace}`,
      `link set ${device} master ${POD_BRIDGE} up`,
    ]);
    await ipBatch(place.namespace, [
      `addr add ${place.addresses.v4}/${POD_PREFIX.v4} dev eth0`,
      `addr add ${place.addresses.v6}/${POD_PREFIX.v6} dev eth0 nodad`,
      'link set eth0 up',
      `route add default via ${gateway.v4}`,
      `route add ::/0 via ${gateway.v6}`,
    ]);
  }
}
