import {
  currentNetworkNamespace,
  listInterfaces,
  type NetworkNamespace,
  openNetworkNamespace,
} from '@kmesh/linux';

/**
 * Where an administrator may mount it, which a kubelet cannot do; and where a container finds it that has the host's
 * /proc (as with the profile) or its PID namespace, and SYS_PTRACE, without which it cannot be opened.
 */
const USUAL_PLACES = ['/host/netns', '/host/proc/1/ns/net', '/proc/1/ns/net'];

/** One interface of a pod, and its peer on the node. */
export interface PodInterface {
  /** Index of the pod's side, in the pod's namespace. */
  readonly index: number;
  readonly name: string;
  readonly mac: Uint8Array;
  readonly addresses: readonly string[];
  /** Index of the node's side, in the node's namespace. */
  readonly nodeInterface: number;
}

/**
 * The node's network namespace, if this process can open it: by the host's `/proc`, or because the process runs in it.
 * Whether it is the right namespace is checked for each pod: it must contain the peer of the pod's interface.
 */
export class NodeSide implements Disposable {
  readonly #candidates: NetworkNamespace[];
  /** Why the node's namespace could not be opened; `undefined` if it could. */
  readonly outOfReach: string | undefined;

  /** Paths where the node's namespace was looked for, as text. */
  readonly #tried: string;

  /** @param place path of the namespace; default: searched in the usual places */
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
   * Returns the interfaces of a pod whose peer is in the node's namespace; `undefined` if the pod has no such interface
   * or the node's namespace cannot be opened.
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

  /** Returns why {@link NodeSide.interfacesOf} finds none, for the log. */
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
