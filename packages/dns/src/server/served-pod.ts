import { closeDescriptor, type NetworkNamespace, networkNamespaceFromDescriptor } from '@kmesh/linux';
import type { Budget } from '../forward/forwarder.ts';
import { Forwarder } from '../forward/forwarder.ts';
import { type ResolvConf, resolvConfOfPod } from '../forward/resolv-conf.ts';
import { defaultSearchDomains } from '../names/resolve.ts';
import { PodServer, type PodServerOptions } from './pod-server.ts';
import type { ClientWorkload, PodSockets } from './protocol.ts';
import { TcpListener } from './tcp-listener.ts';
import { UdpListener } from './udp-listener.ts';

/** Options of {@link ServedPod}. */
interface ServedPodOptions extends Omit<PodServerOptions, 'forwarder'> {
  readonly sockets: PodSockets;
  readonly mark: number | undefined;
  readonly budget: Budget;
  readonly port: number;
  /** The proxy's own resolv.conf. */
  readonly ownConf: () => ResolvConf;
  readonly ownSearch: boolean;
  readonly onRejected: (server: string, verdict: string) => void;
}

/**
 * Interval of searches for the pod's own resolv.conf: its processes start after its network, and may change the file.
 */
const lookAgainMilliseconds = 30_000;

/** One pod on the answering thread: its listeners, its server and its resolvers. */
export class ServedPod {
  readonly #options: ServedPodOptions;
  readonly #namespace: NetworkNamespace | undefined;
  readonly #forwarder: Forwarder;
  readonly #server: PodServer;
  readonly #udp: UdpListener[] = [];
  readonly #tcp: TcpListener[] = [];
  #client: ClientWorkload | undefined;
  #podConf: ResolvConf | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  /** Takes ownership of the sockets, also if it throws. @throws SystemCallError */
  constructor(options: ServedPodOptions) {
    this.#options = options;
    const { sockets, mark, budget, port, onRejected } = options;
    const unused = new Set([...sockets.udp, ...sockets.tcp]);
    this.#namespace =
      sockets.namespace === undefined ? undefined : networkNamespaceFromDescriptor(sockets.namespace);
    this.#forwarder = new Forwarder({
      namespace: this.#namespace,
      ...{ mark, budget, port, onRejected },
      servers: () => this.#servers(),
    });
    this.#server = new PodServer({ ...options, forwarder: this.#forwarder });
    if (options.ownSearch) this.#server.setSearch(options.ownConf().search);
    this.#lookForConf();
    try {
      for (const fd of sockets.udp) {
        unused.delete(fd);
        this.#udp.push(new UdpListener(fd, this.#server.answerer('udp')));
      }
      for (const fd of sockets.tcp) {
        unused.delete(fd);
        this.#tcp.push(new TcpListener(fd, this.#server.answerer('tcp')));
      }
    } catch (error) {
      this.close();
      for (const fd of unused) closeDescriptor(fd);
      throw error;
    }
  }

  get namespace(): string {
    return this.#options.namespace;
  }

  get client(): ClientWorkload | undefined {
    return this.#client;
  }

  get pending(): number {
    return this.#forwarder.pending;
  }

  setClient(client: ClientWorkload | undefined): void {
    this.#client = client;
    this.#server.setClient(client);
  }

  drain(): void {
    for (const listener of [...this.#udp, ...this.#tcp]) listener.drain();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const listener of this.#udp) listener.close();
    this.#forwarder.close();
    for (const listener of this.#tcp) listener.close();
    this.#namespace?.close();
  }

  /**
   * Returns the pod's own resolvers if known, else the proxy's. Omits the pod's loopback and own addresses: a resolver
   * there may itself send its queries through this proxy.
   */
  #servers(): readonly string[] {
    this.#lookForConf();
    const conf = this.#podConf ?? this.#options.ownConf();
    if (this.#namespace === undefined) return conf.servers;
    const own = this.#client?.addresses ?? [];
    return conf.servers.filter((server) => !isLoopback(server) && !own.includes(server));
  }

  #lookForConf(): void {
    const namespace = this.#namespace;
    if (namespace === undefined) return;
    const now = performance.now();
    if (now - this.#lookedAt < lookAgainMilliseconds) return;
    this.#lookedAt = now;
    void resolvConfOfPod(namespace.inode).then((found) => {
      if (this.#closed || found === undefined) return;
      this.#podConf = found;
      const { namespace: client, settings } = this.#options;
      const known = defaultSearchDomains(client, settings.clusterDomain);
      this.#server.setSearch([...new Set([...known, ...found.search])]);
    });
  }
}

function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}
