import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { KmeshError } from '@kmesh/api';
import { Host, type HostPlace, type LabResources } from '../pods/host.ts';
import { Node, POD_BRIDGE } from '../pods/node.ts';
import {
  type AddressPair,
  nodeAddress,
  outsideAddress,
  POD_PREFIX,
  podAddress,
  podNetwork,
  serviceAddress,
  WIRE_PREFIX,
} from './addresses.ts';
import { createPinDirectory, removeStateDirectories } from './bpffs.ts';
import { cgroupRoot, createCgroup, removeCgroup } from './cgroups.ts';
import { cleanUpAtExit, forgetAtExit, sweep } from './cleanup.ts';
import { ipBatch } from './commands.ts';
import { createNamespace, deleteNamespaces, FORWARDING_SETTINGS, newLabName } from './namespaces.ts';

interface LabOptions {
  /** MTU of every link; 1500 by default. */
  readonly mtu?: number;
}

interface NodeOptions {
  /** `node1`, `node2`, … when absent. */
  readonly name?: string;
}

/** Name of the bridge in the wire namespace, and of every host's interface on the wire. */
const WIRE_BRIDGE = 'wire';
const WIRE_INTERFACE = 'eth0';

/**
 * A fixed address: a bridge otherwise takes the lowest address of its ports, and a new pod would cut off the others
 * until they resolve it again.
 */
const BRIDGE_MAC = '02:6b:6d:00:00:01';

/**
 * Creates a lab: the machines of a mesh on this machine. First removes leftovers of dead processes.
 *
 * @throws KMESH_LAB_NOT_BUILT, KMESH_LAB_NO_CGROUP, KMESH_LAB_COMMAND_FAILED (not root, no namespaces)
 */
export async function createLab(options: LabOptions = {}): Promise<Lab> {
  sweep();
  const name = newLabName();
  const lab = new Lab(name, `${cgroupRoot()}/${name}`, options.mtu ?? 1500);
  try {
    await lab.open();
  } catch (error) {
    await lab.close();
    throw error;
  }
  return lab;
}

/** Nodes routed to each other over one wire, IPv4 and IPv6. Owns everything created in it; `close` removes it. */
export class Lab implements AsyncDisposable {
  readonly name: string;
  /** The cgroup above those of all hosts: programs attached here see the lab's sockets and no others. */
  readonly cgroup: string;
  readonly #mtu: number;
  readonly #nodes: Node[] = [];
  readonly #outside: Host[] = [];
  readonly #resources: { children: Set<ChildProcess>; sockets: LabResources['sockets'] } = {
    children: new Set(),
    sockets: new Set(),
  };
  #services = 0;
  #pins: Promise<string> | undefined;
  #closed = false;

  constructor(name: string, cgroup: string, mtu: number) {
    this.name = name;
    this.cgroup = cgroup;
    this.#mtu = mtu;
  }

  /** Nodes in order of creation. */
  get nodes(): readonly Node[] {
    return this.#nodes;
  }

  /** Called once, by {@link createLab}. */
  async open(): Promise<void> {
    cleanUpAtExit(this, () => this.#cleanUp());
    createCgroup(this.cgroup);
    await createNamespace(this.#wire, FORWARDING_SETTINGS);
    await ipBatch(this.#wire, [
      `link add ${WIRE_BRIDGE} mtu ${this.#mtu} type bridge forward_delay 0`,
      `link set ${WIRE_BRIDGE} up`,
    ]);
  }

  /** Makes a node, routed to all others. */
  async node(options: NodeOptions = {}): Promise<Node> {
    const index = this.#nodes.length + 1;
    const place = this.#place(options.name ?? `node${index}`, nodeAddress(index));
    const node = new Node(place, index, this.#mtu, this.#resources);
    const others = [...this.#nodes, ...this.#outside];
    this.#nodes.push(node);
    createCgroup(place.cgroup);
    await createNamespace(place.namespace, FORWARDING_SETTINGS);
    await this.#connect(place, `node${index}`);
    const bridge = podAddress(index, 1);
    await ipBatch(place.namespace, [
      `link add ${POD_BRIDGE} address ${BRIDGE_MAC} mtu ${this.#mtu} type bridge forward_delay 0`,
      `addr add ${bridge.v4}/${POD_PREFIX.v4} dev ${POD_BRIDGE}`,
      `addr add ${bridge.v6}/${POD_PREFIX.v6} dev ${POD_BRIDGE} nodad`,
      `link set ${POD_BRIDGE} up`,
      ...this.#nodes.filter((other) => other !== node).flatMap((_, at) => routesTo(at + 1)),
    ]);
    await Promise.all(others.map((other) => ipBatch(other.namespace, routesTo(index))));
    return node;
  }

  /** Creates a host on the wire that is not a node and not in a mesh, but can reach every node and pod. */
  async outsideHost(name = `outside${this.#outside.length + 1}`): Promise<Host> {
    const index = this.#outside.length + 1;
    const place = this.#place(name, outsideAddress(index));
    const host = new Host(place, this.#resources);
    this.#outside.push(host);
    createCgroup(place.cgroup);
    await createNamespace(place.namespace);
    await this.#connect(place, `outside${index}`);
    await ipBatch(
      place.namespace,
      this.#nodes.flatMap((_, at) => routesTo(at + 1)),
    );
    return host;
  }

  /** Allocates a pair of unused addresses for a service. */
  serviceAddress(): AddressPair {
    this.#services += 1;
    return serviceAddress(this.#services);
  }

  /**
   * Returns a directory on a bpffs for this lab's pins; mounts a bpffs if the machine has none, or if `own` is set.
   * `close` removes it.
   */
  bpffs(options: { readonly own?: boolean } = {}): Promise<string> {
    this.#pins ??= createPinDirectory(this.name, options.own ?? false);
    return this.#pins;
  }

  /**
   * Ends every process of the lab and removes everything it created.
   *
   * @throws KMESH_LAB_CLEANUP when something could not be removed.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    const ends = [...this.#resources.children].map((child) => once(child, 'close').catch(() => undefined));
    const problem = this.#cleanUp();
    // The helper programs do not keep this process alive by themselves.
    const alive = setInterval(() => undefined, 1_000);
    await Promise.all(ends);
    clearInterval(alive);
    if (problem !== undefined) throw new KmeshError('KMESH_LAB_CLEANUP', `Lab ${this.name}: ${problem}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  get #wire(): string {
    return `${this.name}.wire`;
  }

  #place(name: string, addresses: AddressPair): HostPlace {
    if ([...this.#nodes, ...this.#outside].some((host) => host.name === name)) {
      throw new KmeshError('KMESH_LAB_DUPLICATE', `The lab already has a host ${name}.`);
    }
    return { name, namespace: `${this.name}.${name}`, cgroup: `${this.cgroup}/${name}`, addresses };
  }

  async #connect(place: HostPlace, device: string): Promise<void> {
    await ipBatch(this.#wire, [
      `link add ${device} mtu ${this.#mtu} type veth peer name ${WIRE_INTERFACE} mtu ${this.#mtu} netns ${place.namespace}`,
      `link set ${device} master ${WIRE_BRIDGE} up`,
    ]);
    await ipBatch(place.namespace, [
      `addr add ${place.addresses.v4}/${WIRE_PREFIX.v4} dev ${WIRE_INTERFACE}`,
      `addr add ${place.addresses.v6}/${WIRE_PREFIX.v6} dev ${WIRE_INTERFACE} nodad`,
      `link set ${WIRE_INTERFACE} up`,
    ]);
  }

  /** Synchronous, because it also runs while the process exits. */
  #cleanUp(): string | undefined {
    if (this.#closed) return undefined;
    this.#closed = true;
    forgetAtExit(this);
    for (const socket of this.#resources.sockets) (socket.destroy ?? socket.close)?.call(socket);
    const hosts = [...this.#outside, ...this.#nodes, ...this.#nodes.flatMap((node) => node.pods)];
    const problems = [
      removeCgroup(this.cgroup),
      deleteNamespaces([...hosts.map((host) => host.namespace), this.#wire]),
    ];
    removeStateDirectories(this.name);
    return problems.find((problem) => problem !== undefined);
  }
}

function routesTo(node: number): string[] {
  const network = podNetwork(node);
  const via = nodeAddress(node);
  return [`route add ${network.v4} via ${via.v4}`, `route add ${network.v6} via ${via.v6}`];
}
