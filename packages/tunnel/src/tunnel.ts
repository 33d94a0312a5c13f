import { lookup } from 'node:dns/promises';
import type { PodInfo } from '@kmesh/api';
import { KmeshError, type Workload } from '@kmesh/api';
import type { NetworkNamespace } from '@kmesh/linux';
import type { MeshChange } from '@kmesh/orchestration';
import { Engine } from './engine/engine.ts';
import { PeerBaggage } from './inbound/peer-baggage.ts';
import type { TunnelCounters, TunnelOptions } from './options.ts';
import type { CarriedDump } from './pod/carried.ts';
import { DescriptorShares } from './pod/descriptor-share.ts';
import { OpenHandshakes } from './pod/open-handshakes.ts';
import { PodProxy } from './pod/pod-proxy.ts';
import type { ServedSession } from './pod/served-session.ts';
import { engineConfig, type ResolvedSettings, resolveSettings } from './settings.ts';
import { TlsContexts } from './tls/contexts.ts';

const silentCounters: TunnelCounters = {
  revocationRejected: () => undefined,
  revocationUntracked: () => undefined,
  onDemandDns: () => undefined,
  acceptFailed: () => undefined,
  shareExceeded: () => undefined,
};

/** How long a resolved host name is cached; the node's resolver does not return TTLs. */
const HOSTNAME_MILLISECONDS = 10_000;
const HOSTNAME_ENTRIES = 4_096;
/** Maximum delay of byte counts for a young connection. */
const YOUNG_MILLISECONDS = 250;

/** How long a drain without connections waits for peers that were sent GOAWAY. */
const QUIET_MILLISECONDS = 1_500;
const SELF_UID = 'self';

/** The tunnel path of this node: data threads and a proxy per pod. */
export class Tunnel implements AsyncDisposable {
  readonly #options: TunnelOptions;
  readonly #settings: ResolvedSettings;
  readonly #engines: Engine[];
  readonly #pods = new Map<string, PodProxy>();
  readonly #tls: TlsContexts;
  readonly #peers = new PeerBaggage();
  readonly #shares: DescriptorShares;
  readonly #handshakes = new OpenHandshakes<ServedSession>();
  readonly #counters: TunnelCounters;
  readonly #hostnames = new Map<
    string,
    { readonly until: number; readonly addresses: Promise<readonly string[]> }
  >();
  readonly #stops: (() => void)[] = [];
  #next = 0;
  #draining = false;
  #closed = false;

  /** @throws KmeshError `KMESH_TUNNEL_ENGINE`, `KMESH_ADDON_BROKEN` */
  constructor(options: TunnelOptions) {
    const settings = options.settings ?? {};
    this.#options = options;
    this.#settings = resolveSettings(settings);
    this.#counters = { ...silentCounters, ...options.counters };
    this.#shares = new DescriptorShares(this.#settings.share);
    this.#tls = new TlsContexts({
      revocations: options.revocations,
      tls12: this.#settings.tls12,
      postQuantumOnly: this.#settings.postQuantumOnly,
    });
    const onError = (error: unknown): void =>
      options.logger.error('an event of the tunnel could not be handled', { error: String(error) });
    this.#engines = Array.from(
      { length: this.#settings.threads },
      () => new Engine(engineConfig(settings, options.handoffs, options.picks?.table), onError),
    );
    this.#stops.push(options.mesh.subscribe((change) => this.policyChanged(change)));
    if (options.revocations !== undefined) {
      this.#stops.push(options.revocations.onChange(() => this.revocationsChanged()));
    }
    const { progressMilliseconds } = this.#settings;
    let reported = performance.now();
    const progress = setInterval(
      () => {
        const all = performance.now() - reported >= progressMilliseconds - 1;
        if (all) reported = performance.now();
        for (const engine of this.#engines) {
          if (engine.flowCount > 0) engine.reportBytes(all ? 'all' : 'young');
        }
      },
      Math.min(progressMilliseconds, YOUNG_MILLISECONDS),
    );
    progress.unref();
    this.#stops.push(() => clearInterval(progress));
  }

  /** Number of served pods, without the proxy itself. */
  get podCount(): number {
    return this.#pods.size - (this.#pods.has(SELF_UID) ? 1 : 0);
  }

  get connectionCount(): number {
    return sum(this.#pods.values(), (pod) => pod.connectionCount);
  }

  /** Number of HBONE connections, both directions. */
  get sessionCount(): number {
    return sum(this.#pods.values(), (pod) => pod.sessionCount);
  }

  /** Sets whether the data threads keep the process alive; they do by default. */
  reference(keepAlive: boolean): void {
    for (const engine of this.#engines) engine.reference(keepAlive);
  }

  hasPod(uid: string): boolean {
    return this.#pods.has(uid);
  }

  /** Returns whether `uid` is served in exactly this namespace. */
  servesIn(uid: string, namespace: NetworkNamespace): boolean {
    return this.#pods.get(uid)?.runsIn(namespace) ?? false;
  }

  /**
   * Starts the proxy of a pod: its listeners, inside its namespace, whose ownership passes to the tunnel (also when
   * this fails). A running proxy of the pod is replaced.
   *
   * @throws SystemCallError `KMESH_SOCKET_FAILED` naming the port; KmeshError `KMESH_TUNNEL_CLOSED`.
   */
  addPod(uid: string, info: PodInfo, namespace: NetworkNamespace): void {
    this.removePod(uid);
    try {
      this.#add(uid, info, namespace, undefined);
    } catch (error) {
      namespace.close();
      throw error;
    }
  }

  /** Serves one workload in the process's own namespace (dedicated mode, contract 10.6). */
  addDedicated(info: PodInfo): void {
    this.#add('dedicated', info, undefined, undefined);
  }

  /** Serves the proxy itself on 15008 of its own namespace, so that a mesh client can scrape it (contract 2.4). */
  addSelf(info: PodInfo, workload: () => Workload | undefined): void {
    this.#add(SELF_UID, info, undefined, { workload });
  }

  /** Cuts the pod's connections and closes its listeners. Unknown uids are ignored. */
  removePod(uid: string): void {
    const pod = this.#pods.get(uid);
    this.#pods.delete(uid);
    pod?.close();
  }

  /** Returns the live connections, for the config dump. */
  connections(uid: string): {
    readonly inbound: readonly CarriedDump[];
    readonly outbound: readonly CarriedDump[];
  } {
    const all = this.#pods.get(uid)?.connections() ?? [];
    return {
      inbound: all.filter(({ direction }) => direction === 'inbound'),
      outbound: all.filter(({ direction }) => direction === 'outbound'),
    };
  }

  /** Judges live connections again. Called by the subscription to the mesh; callers need not call it. */
  policyChanged(change: MeshChange): void {
    for (const engine of this.#engines) engine.takeBack();
    for (const pod of this.#pods.values()) pod.meshChanged(change);
  }

  /** Applies new revocation lists: handshakes use them from now on, live connections are checked. */
  revocationsChanged(): void {
    for (const engine of this.#engines) engine.takeBack();
    this.#tls.revocationsChanged();
    const lists = this.#options.revocations?.lists ?? [];
    for (const pod of this.#pods.values()) pod.revocationsChanged(lists);
  }

  /** Returns the number of ended HBONE connections whose peers have bytes to acknowledge, and answer. */
  get unacknowledgedCount(): number {
    return sum(this.#engines, (engine) => engine.unacknowledgedCount);
  }

  /**
   * Graceful drain (contract 2.7): listeners close, HBONE gets GOAWAY, live connections may finish. Resolves when the
   * peers of all have acknowledged the last bytes, or at the deadline, which cuts the rest.
   */
  async drain(deadlineMilliseconds: number): Promise<void> {
    this.#draining = true;
    for (const pod of this.#pods.values()) pod.drain();
    const began = performance.now();
    const passed = (): number => performance.now() - began;
    while (passed() < deadlineMilliseconds) {
      // Time for connections that the kernel accepted before the listeners closed.
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (this.connectionCount > 0 || sum(this.#pods.values(), (pod) => pod.nestedCount) > 0) continue;
      // The end of the process would also cut responses in the buffers of ended sessions.
      if (this.#engines.some(({ flowCount }) => flowCount > 0) || this.unacknowledgedCount > 0) continue;
      // Peers with a handshake or request in progress find their connections still open.
      if (passed() > QUIET_MILLISECONDS || sum(this.#pods.values(), (pod) => pod.servedCount) === 0) break;
    }
    for (const pod of this.#pods.values()) pod.leave();
    // Time for the last frames, and for the records of ended connections.
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const pod of this.#pods.values()) pod.close();
    this.#pods.clear();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  /** Cuts everything and ends the data threads. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const stop of this.#stops) stop();
    for (const pod of this.#pods.values()) pod.close();
    this.#pods.clear();
    for (const engine of this.#engines) engine.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #add(
    uid: string,
    info: PodInfo,
    namespace: NetworkNamespace | undefined,
    self: { readonly workload: () => Workload | undefined } | undefined,
  ): void {
    const engine = this.#engines[this.#next % this.#engines.length];
    if (this.#closed || this.#draining || engine === undefined) {
      throw new KmeshError('KMESH_TUNNEL_CLOSED', `pod ${uid} cannot be served: the proxy is shutting down`);
    }
    this.#next += 1;
    const pod = new PodProxy({
      uid,
      info,
      namespace,
      engine,
      tunnel: this.#options,
      settings: this.#settings,
      tls: this.#tls,
      peers: this.#peers,
      shares: this.#shares,
      handshakes: this.#handshakes,
      counters: this.#counters,
      resolveHostname: (hostname) => this.#resolve(hostname),
      ...(self === undefined ? {} : { self }),
    });
    this.#pods.set(uid, pod);
  }

  #resolve(hostname: string): Promise<readonly string[]> {
    const known = this.#hostnames.get(hostname);
    if (known !== undefined && known.until > performance.now()) return known.addresses;
    const resolve = this.#options.resolveHostname ?? resolveByNode;
    const addresses = resolve(hostname);
    addresses.catch(() => this.#hostnames.delete(hostname));
    if (this.#hostnames.size >= HOSTNAME_ENTRIES) {
      const [oldest] = this.#hostnames.keys();
      if (oldest !== undefined) this.#hostnames.delete(oldest);
    }
    this.#hostnames.delete(hostname);
    this.#hostnames.set(hostname, { until: performance.now() + HOSTNAME_MILLISECONDS, addresses });
    return addresses;
  }
}

/** Starts the tunnel path. @throws KmeshError `KMESH_TUNNEL_ENGINE`, `KMESH_ADDON_BROKEN` */
export function createTunnel(options: TunnelOptions): Tunnel {
  return new Tunnel(options);
}

async function resolveByNode(hostname: string): Promise<readonly string[]> {
  const answers = await lookup(hostname, { all: true });
  return answers.map(({ address }) => address);
}

function sum<Item>(items: Iterable<Item>, of: (item: Item) => number): number {
  let total = 0;
  for (const item of items) total += of(item);
  return total;
}
