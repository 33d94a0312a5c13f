import {
  currentNetworkNamespace,
  listInterfaces,
  type NetworkNamespace,
  openNetworkNamespace,
} from '@kmesh/linux';

/**
 * Where it is mounted by itself, which a kubelet cannot do; and where a container sees it that has the host's /proc, as with the
 * profile, or its processes, and SYS_PTRACE, without which that cannot be opened.
 */
const USUAL_PLACES = ['/host/netns', '/host/proc/1/ns/net', '/proc/1/ns/net'];

/** One interface of a pod, and the end of its pair that is the node's. */
export interface PodInterface {
  /** Of the pod's side, in the pod's namespace. */
  readonly index: number;
  readonly name: string;
  readonly mac: Uint8Array;
  readonly addresses: readonly string[];
  /** Of the node's side, in the node's namespace. */
  readonly nodeInterface: number;
}

/**
 * The node's network namespace, as far as this process reaches it: by the host's `/proc`, or because the process runs in it.
 * Whether a namespace is the one is seen at each pod: it holds the other end of the pod's interface.
 */
export class NodeSide implements Disposable {
  readonly #candidates: NetworkNamespace[];
  /** Why no path to the node's namespace could be opened; `undefined` if one could. */
  readonly outOfReach: string | undefined;

  /** Where the node's namespace was looked for, in words. */
  readonly #tried: string;

  /** @param place path of the namespace; looked for in the usual places when absent */
  constructor(place?: string) {
    this.#candidates = [currentNetworkNamespace()];
    const errors: string[] = [];
    for (const path of place === undefined ? USUAL_PLACES : [place]) {
      try {
        this.#candidates.push(openNetworkNamespace(path));
      } catch (error) {
        errors.push(error instanceof Error ? error.message : String(error));
      }
    }
    this.#tried = ['its own', ...this.#candidates.slice(1).map(({ label }) => label), ...errors].join(', ');
    this.outOfReach = this.#candidates.length > 1 ? undefined : errors.join('; ');
  }

  /**
   * Finds the interfaces of a pod whose other end is the node's. None: the pod has no such interface, or the node's
   * namespace is out of reach.
   *
   * @throws SystemCallError `KMESH_INTERFACE_LIST_FAILED`
   */
  interfacesOf(
    pod: NetworkNamespace,
  ): { node: NetworkNamespace; interfaces: readonly PodInterface[] } | undefined {
    for (const node of this.#candidates) {
      if (node.sameAs(pod)) continue;
      const interfaces = listInterfaces(pod, node)
        .filter(({ kind, peer, mac }) => kind === 'veth' && peer !== 0 && mac.length === 6)
        .map(({ index, name, mac, addresses, peer }) => ({
          index,
          name,
          mac,
          addresses,
          nodeInterface: peer,
        }));
      if (interfaces.length > 0) return { node, interfaces };
    }
    return undefined;
  }

  /** Why {@link NodeSide.interfacesOf} finds none, for the log. */
  whyNone(pod: NetworkNamespace): string {
    const [first] = this.#candidates;
    const interfaces = first === undefined ? [] : listInterfaces(pod, first);
    const veths = interfaces.filter(({ kind }) => kind === 'veth').map(({ name }) => name);
    if (veths.length > 0)
      return `the other end of ${veths.join(', ')} is in none of the namespaces that this process can open: ${this.#tried}`;
    const others = interfaces
      .filter(({ name }) => name !== 'lo')
      .map(({ name, kind }) => `${name} (${kind})`);
    return `it has no veth interface: ${others.join(', ') || 'none at all'}`;
  }

  [Symbol.dispose](): void {
    for (const namespace of this.#candidates) namespace.close();
  }
}
