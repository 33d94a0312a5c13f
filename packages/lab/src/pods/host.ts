import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import type { Server, Socket } from 'node:net';
import type { AddressPair } from '../network/addresses.ts';
import {
  type CommandOptions,
  type CommandResult,
  collect,
  ipBatch,
  labProgram,
} from '../network/commands.ts';
import { namespacePath } from '../network/namespaces.ts';
import { type Dialing, type DialOptions, type DialReport, startDialing } from '../traffic/dial.ts';
import { type HttpAnswer, type HttpRequest, requestHttp } from '../traffic/http.ts';
import { RawListener } from '../traffic/raw.ts';
import { type ListenerCount, type ServeOptions, ServerProcess, type Serving } from '../traffic/serve.ts';
import {
  type ConnectOptions,
  type DatagramExchange,
  type ListenOptions,
  SocketMaker,
} from '../traffic/sockets.ts';

/** Resources that the hosts of a lab share with the lab. */
export interface LabResources {
  /** Processes that run on the lab's hosts. */
  readonly children: Set<ChildProcess>;
  /** Sockets and servers of this process on the lab's hosts. */
  readonly sockets: Set<{ destroy?(): void; close?(): void }>;
}

export interface HostPlace {
  readonly name: string;
  /** Name of the network namespace, as `ip netns` knows it. */
  readonly namespace: string;
  /** Directory of the cgroup in which the host's processes run. */
  readonly cgroup: string;
  readonly addresses: AddressPair;
}

/**
 * A machine of the lab as programs see it: a network namespace with addresses, and a cgroup for its processes. Pods,
 * nodes and hosts outside the mesh are hosts.
 */
export class Host implements HostPlace {
  readonly name: string;
  readonly namespace: string;
  readonly cgroup: string;
  readonly addresses: AddressPair;
  readonly #resources: LabResources;
  #servers: ServerProcess | undefined;
  #sockets: SocketMaker | undefined;

  constructor(place: HostPlace, resources: LabResources) {
    this.name = place.name;
    this.namespace = place.namespace;
    this.cgroup = place.cgroup;
    this.addresses = place.addresses;
    this.#resources = resources;
  }

  /** Path of the network namespace's file, to be opened. */
  get namespacePath(): string {
    return namespacePath(this.namespace);
  }

  /**
   * Starts a program on this host. It is in the host's cgroup and namespace before its first instruction, and dies
   * with the lab and with this process.
   */
  spawn(command: string, parameters: readonly string[] = [], options: SpawnOptions = {}): ChildProcess {
    const entry = [this.namespacePath, this.cgroup, command, ...parameters];
    const child = spawn(labProgram('enter'), entry, { stdio: 'pipe', ...options });
    this.#resources.children.add(child);
    child.once('exit', () => this.#resources.children.delete(child));
    return child;
  }

  /**
   * Runs a short program on this host to its end.
   *
   * @throws KMESH_LAB_COMMAND_FAILED when its exit code is not 0 and `check` is not `false`.
   */
  run(
    command: string,
    parameters: readonly string[] = [],
    options: CommandOptions = {},
  ): Promise<CommandResult> {
    return collect(this.spawn(command, parameters), `${command} on ${this.name}`, options);
  }

  /** Sets a further address, usable at once. Prefix length 32 or 128. */
  addAddress(ip: string, device = 'eth0'): Promise<void> {
    const flags = ip.includes(':') ? '/128 dev' : '/32 dev';
    return ipBatch(this.namespace, [`addr add ${ip}${flags} ${device}${ip.includes(':') ? ' nodad' : ''}`]);
  }

  /** Opens a server that answers with its name. All servers of this host share one process. */
  async serve(options: ServeOptions): Promise<Serving> {
    this.#servers ??= new ServerProcess(this.spawn(labProgram('serve')));
    return await this.#servers.listen({ name: this.name, ...options });
  }

  /** Returns the connections and bytes of each server of {@link serve}. */
  async counts(): Promise<ListenerCount[]> {
    return (await this.#servers?.counts()) ?? [];
  }

  /** Opens connections from this host and reports the answers by endpoint. Failures are in the report, not thrown. */
  dial(options: DialOptions): Promise<DialReport> {
    return startDialing(this, options).report;
  }

  /** Like {@link dial}, but runs in the background: see {@link Dialing}. */
  startDialing(options: DialOptions): Dialing {
    return startDialing(this, options);
  }

  /** Opens a connection whose kernel socket is in the host's namespace and cgroup; the test reads and writes it. */
  async connect(options: ConnectOptions): Promise<Socket> {
    const socket = await this.#maker().connect(options);
    this.#own(socket, 'close');
    return socket;
  }

  /** Opens a listening socket on this host; the test serves its connections. */
  async listen(options: ListenOptions, onConnection: (socket: Socket) => void): Promise<Server> {
    const server = await this.#maker().listen(options, (socket) => {
      this.#own(socket, 'close');
      onConnection(socket);
    });
    this.#own(server, 'close');
    return server;
  }

  /** Sends one datagram and waits for the answer. */
  exchangeDatagram(options: DatagramExchange): Promise<string> {
    return this.#maker().exchangeDatagram(options);
  }

  /** Receives packets of an IP protocol (1 ICMP, 58 ICMPv6, 132 SCTP) on this host. */
  listenRaw(family: 4 | 6, protocol: number): Promise<RawListener> {
    return RawListener.open(this, family, protocol);
  }

  /** Sends one packet of an IP protocol. */
  async sendRaw(ip: string, protocol: number, payload: Uint8Array): Promise<void> {
    await this.run(labProgram('raw'), ['send', ip, `${protocol}`, Buffer.from(payload).toString('hex')]);
  }

  /** Sends one HTTP/1.1 request on a new connection. */
  http(request: HttpRequest): Promise<HttpAnswer> {
    return requestHttp(this, request);
  }

  #maker(): SocketMaker {
    this.#sockets ??= new SocketMaker((command, parameters, options) =>
      this.spawn(command, parameters, options),
    );
    return this.#sockets;
  }

  #own(socket: Socket | Server, end: 'close'): void {
    this.#resources.sockets.add(socket);
    socket.once(end, () => this.#resources.sockets.delete(socket));
  }
}
