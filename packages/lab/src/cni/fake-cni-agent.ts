import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { listenSeqpacket, type SeqpacketServer, type SeqpacketSocket } from '@kmesh/linux';
import { STATE_DIRECTORY } from '../network/bpffs.ts';
import type { Lab } from '../network/lab.ts';
import type { Pod } from '../pods/pod.ts';
import { AgentConnection } from './agent-connection.ts';
import { installRedirect, removeRedirect } from './redirect.ts';
import type { RedirectOptions } from './rule-options.ts';

/** Connections that the agent accepts per second (ambient contract 10.2). */
const ACCEPTS_PER_SECOND = 5;

/** Misbehaviour, switched on and off by the test while the agent runs. */
interface AgentFaults {
  /** Closes every connection right after accepting it. */
  closeAfterAccept?: boolean;
  /** Reads the hello and never sends a snapshot. */
  silent?: boolean;
  /** Milliseconds before each message of the snapshot. */
  delayMs?: number;
  /** Descriptors of each add; the protocol requires 1. */
  descriptorsPerAdd?: 0 | 1 | 2;
  /** Leaves the workload info out of each add. */
  omitWorkloadInfo?: boolean;
}

interface AgentOptions {
  /** Path of the socket; by default a path in the lab's directory. */
  readonly path?: string;
  /** Rules for pods that specify none; `false` for no rules. */
  readonly redirect?: RedirectOptions | false;
}

interface AgentPod {
  readonly pod: Pod;
  readonly redirect: RedirectOptions | false;
  /** The agent has no descriptor of the namespace: the snapshot says `keep`. */
  keepOnly: boolean;
  /** A file that is opened in place of the pod's namespace. */
  descriptorOf?: string;
}

/** Starts a fake CNI agent for the pods of one node. */
export function startFakeCniAgent(lab: Lab, options: AgentOptions = {}): FakeCniAgent {
  const directory = `${STATE_DIRECTORY}/${lab.name}`;
  mkdirSync(directory, { recursive: true });
  agents += 1;
  return new FakeCniAgent(options.path ?? `${directory}/zds${agents}.sock`, options.redirect ?? {});
}

let agents = 0;

/**
 * A stand-in for istio-cni's node agent: captures pods and announces them to connected proxies over a real
 * SOCK_SEQPACKET socket, as strict as the real one. Written from ambient contract 10 and 11 alone.
 */
export class FakeCniAgent implements AsyncDisposable {
  readonly path: string;
  readonly faults: AgentFaults = {};
  /** Every connection so far, oldest first, those that have ended too. */
  readonly connections: AgentConnection[] = [];
  readonly #redirect: RedirectOptions | false;
  readonly #pods = new Map<string, AgentPod>();
  readonly #ready = new Set<AgentConnection>();
  #server: SeqpacketServer | undefined;
  #accepts: number[] = [];
  #waiters: (() => void)[] = [];

  /** Use {@link startFakeCniAgent}. */
  constructor(path: string, redirect: RedirectOptions | false) {
    this.path = path;
    this.#redirect = redirect;
    this.listen();
  }

  /** Connections that have their snapshot and have not ended. */
  get ready(): readonly AgentConnection[] {
    return [...this.#ready];
  }

  /**
   * Begins to listen; again after {@link FakeCniAgent.stopListening}. Removes what is at the path, as the real one
   * does.
   */
  listen(): void {
    rmSync(this.path, { force: true });
    this.#server = listenSeqpacket(this.path).reference(false);
    this.#server.on('connection', (socket) => void this.#accept(socket));
  }

  /** Stops accepting connections and removes the socket; open connections continue. */
  stopListening(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  /** Resolves when `count` connections (one by default) have their snapshot. */
  async whenReady(count = 1): Promise<AgentConnection> {
    while (this.#ready.size < count) await new Promise<void>((resolve) => this.#waiters.push(resolve));
    return [...this.#ready].at(-1) as AgentConnection;
  }

  /**
   * Enrols a pod: rules first, then a message to the newest connection, whose answer is awaited. Returns the error text
   * of the answer, empty for success, or `pending` when no proxy is connected: it will be in the next snapshot.
   */
  async addPod(pod: Pod, redirect: RedirectOptions | false = this.#redirect): Promise<string> {
    if (redirect !== false && !this.#pods.has(pod.uid)) await installRedirect(pod, redirect);
    this.#pods.set(pod.uid, { pod, redirect, keepOnly: false });
    return await this.sendAdd(pod);
  }

  /**
   * Sends an add to the newest connection, regardless of earlier messages; `namespaceOf` uses another pod's namespace.
   */
  async sendAdd(pod: Pod, namespaceOf: Pod = pod): Promise<string> {
    const connection = [...this.#ready].at(-1);
    if (connection === undefined) return 'pending';
    return await this.#add(connection, pod, namespaceOf);
  }

  /** The next snapshots have `keep` for this pod: the agent has lost its namespace descriptor. */
  keepOnly(pod: Pod, on = true): void {
    const known = this.#pods.get(pod.uid);
    if (known !== undefined) known.keepOnly = on;
  }

  /**
   * From now on adds of this pod have a descriptor of `path`, as when a namespace file is no longer mounted and only
   * the empty file is left.
   */
  sendDescriptorOf(pod: Pod, path: string | undefined): void {
    const known = this.#pods.get(pod.uid);
    if (known === undefined) return;
    if (path === undefined) delete known.descriptorOf;
    else known.descriptorOf = path;
  }

  /** Un-enrols a pod: removes its rules, then informs every connection. Returns their answers. */
  async removePod(pod: Pod): Promise<string[]> {
    const known = this.#pods.get(pod.uid);
    this.#pods.delete(pod.uid);
    if (known !== undefined && known.redirect !== false) await removeRedirect(pod, known.redirect);
    return await this.sendDelete(pod);
  }

  /** Informs every connection that the pod was deleted, without removing its rules. */
  async sendDelete(pod: Pod): Promise<string[]> {
    this.#pods.delete(pod.uid);
    return await Promise.all(
      [...this.#ready].map((connection) => connection.request({ del: { uid: pod.uid } })),
    );
  }

  async close(): Promise<void> {
    this.stopListening();
    for (const connection of this.connections) connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #accept(socket: SeqpacketSocket): Promise<void> {
    socket.reference(false);
    await this.#waitForTurn();
    if (this.faults.closeAfterAccept === true) {
      socket.close();
      return;
    }
    const connection = new AgentConnection(socket);
    this.connections.push(connection);
    void connection.closed.then(() => this.#ready.delete(connection));
    try {
      await connection.hello();
      if (this.faults.silent === true) return;
      await this.#sendSnapshot(connection);
      this.#ready.add(connection);
      for (const resolve of this.#waiters.splice(0)) resolve();
    } catch {
      // The test reads the reason from the connection.
    }
  }

  /** An error in an answer is recorded; only a missing answer stops the snapshot. */
  async #sendSnapshot(connection: AgentConnection): Promise<void> {
    const sent = new Set<string>();
    await this.#sendNew(connection, sent);
    await this.#pause();
    await connection.request({ snapshotSent: {} });
    // Pods that were added and removed meanwhile.
    await this.#sendNew(connection, sent);
    for (const uid of sent) {
      if (!this.#pods.has(uid)) await connection.request({ del: { uid } });
    }
  }

  async #sendNew(connection: AgentConnection, sent: Set<string>): Promise<void> {
    for (const [uid, { pod, keepOnly }] of this.#pods) {
      if (sent.has(uid)) continue;
      sent.add(uid);
      await this.#pause();
      if (keepOnly) await connection.request({ keep: { uid } });
      else await this.#add(connection, pod, pod);
    }
  }

  async #add(connection: AgentConnection, pod: Pod, namespaceOf: Pod): Promise<string> {
    const workloadInfo = { name: pod.name, namespace: pod.podNamespace, serviceAccount: pod.serviceAccount };
    const add = this.faults.omitWorkloadInfo === true ? { uid: pod.uid } : { uid: pod.uid, workloadInfo };
    const descriptors = Array.from({ length: this.faults.descriptorsPerAdd ?? 1 }, () =>
      openSync(this.#pods.get(pod.uid)?.descriptorOf ?? namespaceOf.namespacePath, 'r'),
    );
    try {
      return await connection.request({ add }, descriptors);
    } finally {
      for (const descriptor of descriptors) closeSync(descriptor);
    }
  }

  async #pause(): Promise<void> {
    const { delayMs = 0 } = this.faults;
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
  }

  async #waitForTurn(): Promise<void> {
    const now = Date.now();
    this.#accepts = this.#accepts.filter((time) => time > now - 1000);
    const turn =
      this.#accepts.length < ACCEPTS_PER_SECOND ? now : (this.#accepts.at(-ACCEPTS_PER_SECOND) ?? now) + 1000;
    this.#accepts.push(turn);
    if (turn > now) await new Promise((resolve) => setTimeout(resolve, turn - now));
  }
}
