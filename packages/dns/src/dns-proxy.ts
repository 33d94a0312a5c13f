import type { Worker } from 'node:worker_threads';
import { KmeshError, type Logger, type Service, type Workload } from '@kmesh/api';
import { type NetworkNamespace, startThread } from '@kmesh/linux';
import { type MeshChange, type MeshView, Slicer, serviceKey } from '@kmesh/orchestration';
import type { RecorderChannel } from '@kmesh/probe';
import { nameRecordOf } from './names/record.ts';
import { openPodSockets, type PodSocketSettings } from './pod-sockets.ts';
import type {
  ClientWorkload,
  DnsThreadData,
  FromThread,
  PodSockets,
  QueryLine,
  ToThread,
  UpstreamTrouble,
} from './server/protocol.ts';

/** The mesh state with its change notifications; `MeshState` implements it. */
interface DnsMesh extends MeshView {
  services(): Iterable<Service>;
  subscribe(listener: (change: MeshChange) => void): () => void;
}

/** Settings of the proxy; names follow the controller's configuration. */
interface DnsSettings extends PodSocketSettings {
  readonly clusterDomain: string;
  readonly preferredNamespace: string | undefined;
  /** The proxy's own resolv.conf. */
  readonly resolvConf: string;
  /** Dedicated mode: the client has the search domains of that file. */
  readonly ownSearch: boolean;
  /** Port of the resolvers: 53; only tests change it. */
  readonly upstreamPort?: number;
}

/** Options of {@link DnsProxy}. */
interface DnsProxyOptions {
  readonly mesh: DnsMesh;
  readonly settings: DnsSettings;
  readonly logger: Logger;
  /** Returns whether queries are logged now (debug in scope `dns`); called a few times per second. */
  readonly logsQueries: () => boolean;
  /** Returns the channel for the answering thread's `istio_dns_*` metrics; called at each start of the thread. */
  readonly recorder?: (() => RecorderChannel) | undefined;
  /**
   * Requests a resource by name from the control plane (`XDS_ON_DEMAND`); resolves when it is applied or does not
   * exist.
   */
  readonly demand?: ((name: string) => Promise<void>) | undefined;
}

/** A pod that the DNS proxy serves. */
interface DnsPod {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

interface Pod {
  readonly info: DnsPod;
  /** For new sockets after a restart of the answering thread; owned. */
  readonly namespace: NetworkNamespace | undefined;
  client: Workload | undefined;
}

const sliceMilliseconds = 4;
const restMilliseconds = 1;
const recordsPerMessage = 256;
const logCheckMilliseconds = 250;
/** Delay before a thread that failed within this time after its start is replaced; any other is replaced at once. */
const restartMilliseconds = 1_000;
const soonMilliseconds = 10_000;
const troubleMilliseconds = 10_000;

/**
 * The control thread's part of the pods' DNS proxy: opens the sockets in the pods, and keeps the answering thread's
 * names up to date. Queries never reach this thread.
 */
export class DnsProxy implements AsyncDisposable {
  readonly #options: DnsProxyOptions;
  readonly #pods = new Map<string, Pod>();
  /** Keys of services to send to the thread. */
  #dirty = new Set<string>();
  /** Whether workloads of pods may have changed; they are sent after the names, so that no query misses a name. */
  #clientsChanged = false;
  #flushing: Promise<void> | undefined;
  #thread: Worker;
  #startedAt = 0;
  #ready: Promise<void>;
  #logsQueries = false;
  #closed = false;
  #drained: (() => void) | undefined;
  readonly #stops: (() => void)[] = [];
  readonly #troubles = new Map<string, { total: number; reportedAt: number }>();

  constructor(options: DnsProxyOptions) {
    this.#options = options;
    ({ thread: this.#thread, ready: this.#ready } = this.#start());
    this.#stops.push(options.mesh.subscribe((change) => this.#meshChanged(change)));
    const timer = setInterval(() => this.#checkLog(), logCheckMilliseconds);
    timer.unref();
    this.#stops.push(() => clearInterval(timer));
  }

  /** Resolves when the answering thread runs and has the mesh state of the time of the call. */
  async ready(): Promise<void> {
    await this.#ready;
    await this.#flushed();
  }

  /**
   * Opens UDP and TCP on the proxy's port in a pod (contract 2.6) and serves it. A pod that is already served is
   * replaced.
   *
   * @param namespace duplicated; `undefined` for the process's own (dedicated mode)
   * @throws SystemCallError `KMESH_SOCKET_FAILED` naming the port, with no socket left open; KmeshError
   * `KMESH_DNS_CLOSED`
   */
  addPod(uid: string, info: DnsPod, namespace: NetworkNamespace | undefined): void {
    if (this.#closed)
      throw new KmeshError('KMESH_DNS_CLOSED', `pod ${uid} gets no DNS: the proxy is shutting down`);
    this.removePod(uid);
    const kept = namespace?.duplicate();
    try {
      const pod: Pod = { info, namespace: kept, client: undefined };
      const sockets = openPodSockets(this.#options.settings, kept);
      this.#pods.set(uid, pod);
      this.#postPod(uid, pod, sockets);
    } catch (error) {
      kept?.close();
      throw error;
    }
  }

  /** Closes the pod's sockets; its pending queries get no answer. Ignores unknown uids. */
  removePod(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    this.#pods.delete(uid);
    this.#post({ kind: 'remove', uid });
    pod.namespace?.close();
  }

  /** Leaves new queries to the next instance and answers pending ones, at most until the deadline. */
  async drain(deadlineMilliseconds: number): Promise<void> {
    if (this.#closed || this.#drained !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained = resolve;
    this.#post({ kind: 'drain' });
    const timer = setTimeout(resolve, deadlineMilliseconds);
    await promise;
    clearTimeout(timer);
  }

  /** Ends the answering thread, and with it every socket. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#drained?.();
    for (const stop of this.#stops) stop();
    await this.#thread.terminate();
    for (const { namespace } of this.#pods.values()) namespace?.close();
    this.#pods.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #start(): { thread: Worker; ready: Promise<void> } {
    const { settings, recorder, demand } = this.#options;
    const channel = recorder?.();
    const workerData: DnsThreadData = {
      clusterDomain: settings.clusterDomain.toLowerCase(),
      preferredNamespace: settings.preferredNamespace,
      ipv6: settings.ipv6,
      mark: settings.mark,
      resolvConf: settings.resolvConf,
      ownSearch: settings.ownSearch,
      upstreamPort: settings.upstreamPort ?? 53,
      onDemand: demand !== undefined,
      recorder: channel,
    };
    this.#startedAt = performance.now();
    const thread = startThread(new URL('./server/dns-worker.ts', import.meta.url), {
      name: 'kmesh-dns',
      workerData,
      transferList: channel === undefined ? [] : [channel.port],
    });
    const { promise: ready, resolve } = Promise.withResolvers<void>();
    thread.on('message', (message: FromThread) => this.#receive(message, resolve));
    thread.on('error', (error) => this.#failed(error as Error));
    for (const service of this.#options.mesh.services()) this.#dirty.add(serviceKey(service));
    return { thread, ready };
  }

  /** Restarts a failed thread with new sockets; the queries of that moment are lost. */
  #failed(error: Error): void {
    if (this.#closed) return;
    this.#options.logger.error('the DNS thread failed and is restarted', { error: String(error.stack) });
    const failedSoon = performance.now() - this.#startedAt < soonMilliseconds;
    const restart = (): void => {
      if (this.#closed) return;
      ({ thread: this.#thread, ready: this.#ready } = this.#start());
      this.#logsQueries = false;
      this.#flush();
      for (const [uid, pod] of [...this.#pods]) {
        try {
          this.#postPod(uid, pod, openPodSockets(this.#options.settings, pod.namespace));
        } catch (failure) {
          this.#reportUnserved(uid, String(failure));
        }
      }
    };
    if (failedSoon) setTimeout(restart, restartMilliseconds);
    else restart();
  }

  #reportUnserved(uid: string, error: string): void {
    const pod = this.#pods.get(uid);
    this.#options.logger.error('the DNS proxy cannot serve a pod', {
      pod: pod === undefined ? uid : podName(pod),
      error,
    });
  }

  #post(message: ToThread): void {
    this.#thread.postMessage(message);
  }

  /** Passes the sockets to the thread, which closes them, also when it fails. */
  #postPod(uid: string, pod: Pod, sockets: PodSockets): void {
    this.#post({ kind: 'pod', uid, namespace: pod.info.namespace, sockets });
    pod.client = undefined;
    this.#clientsChanged = true;
    this.#flush();
  }

  #bringClient(uid: string, pod: Pod): void {
    const { namespace, serviceAccount, name } = pod.info;
    const workload = this.#options.mesh.localWorkload(namespace, serviceAccount, name);
    if (workload === pod.client) return;
    pod.client = workload;
    this.#post({ kind: 'client', uid, client: workload === undefined ? undefined : clientOf(workload) });
  }

  #meshChanged(change: MeshChange): void {
    for (const key of change.services) this.#dirty.add(key);
    if (change.workloads.size > 0) this.#clientsChanged = true;
    this.#flush();
  }

  #flush(): void {
    if (this.#dirty.size > 0 || this.#clientsChanged)
      this.#flushing ??= this.#sendDirty().finally(() => (this.#flushing = undefined));
  }

  async #flushed(): Promise<void> {
    this.#flush();
    while (this.#flushing !== undefined) await this.#flushing;
  }

  /** Sends changed services, each once, in slices that bound event loop blocking. */
  async #sendDirty(): Promise<void> {
    const { mesh, settings } = this.#options;
    const clusterDomain = settings.clusterDomain.toLowerCase();
    const slicer = new Slicer(sliceMilliseconds, restMilliseconds);
    await slicer.pause();
    while (this.#dirty.size > 0 && !this.#closed) {
      const put = [];
      const remove = [];
      for (const key of this.#dirty) {
        this.#dirty.delete(key);
        const service = mesh.service(key);
        const record = service && nameRecordOf(mesh, service, clusterDomain);
        if (record === undefined) remove.push(key);
        else put.push(record);
        if (put.length + remove.length >= recordsPerMessage || slicer.due) break;
      }
      this.#post({ kind: 'names', put, remove });
      if (slicer.due) await slicer.pause();
    }
    if (!this.#clientsChanged || this.#closed) return;
    this.#clientsChanged = false;
    for (const [uid, pod] of this.#pods) this.#bringClient(uid, pod);
  }

  #checkLog(): void {
    const queries = this.#options.logsQueries();
    if (queries === this.#logsQueries) return;
    this.#logsQueries = queries;
    this.#post({ kind: 'log', queries });
  }

  #receive(message: FromThread, ready: () => void): void {
    switch (message.kind) {
      case 'ready':
        ready();
        this.#flush();
        break;
      case 'demand':
        void this.#demand(message.id, message.names);
        break;
      case 'queries':
        this.#logLines(message.lines, message.left);
        break;
      case 'troubles':
        for (const trouble of message.troubles) this.#reportTrouble(trouble);
        break;
      case 'unserved':
        this.#reportUnserved(message.uid, message.error);
        break;
      case 'drained':
        this.#drained?.();
        break;
    }
  }

  async #demand(id: number, names: readonly string[]): Promise<void> {
    const { demand } = this.#options;
    // Without an answer the thread goes on by itself.
    if (demand !== undefined) await Promise.allSettled(names.map((name) => demand(name)));
    await this.#flushed();
    if (!this.#closed) this.#post({ kind: 'demanded', id });
  }

  #logLines(lines: readonly QueryLine[], left: number): void {
    const { logger } = this.#options;
    for (const { uid, query, domain, result, endpoints } of lines) {
      const pod = this.#pods.get(uid);
      const source = { 'src.workload': pod?.info.name ?? uid, 'src.namespace': pod?.info.namespace ?? '' };
      logger.debug('dns query', { ...source, query, domain, result, endpoints });
    }
    if (left > 0) logger.debug('some queries were not logged', { left });
  }

  /** Logs at most one line per pod, resolver and reason in ten seconds. */
  #reportTrouble({ uid, server, reason, count }: UpstreamTrouble): void {
    const pod = this.#pods.get(uid);
    const key = `${uid} ${server} ${reason}`;
    const known = this.#troubles.get(key) ?? { total: 0, reportedAt: Number.NEGATIVE_INFINITY };
    if (this.#troubles.size > 10_000) this.#troubles.clear();
    this.#troubles.set(key, known);
    known.total += count;
    const now = performance.now();
    if (now - known.reportedAt < troubleMilliseconds) return;
    known.reportedAt = now;
    this.#options.logger.warn(troubleText(reason), {
      pod: pod === undefined ? uid : podName(pod),
      resolver: server,
      queries: known.total,
    });
    known.total = 0;
  }
}

const troubleTexts: Readonly<Record<string, string>> = {
  timeout:
    'a resolver does not answer in time: clients got SERVFAIL after 5 s; check that the pod can reach it',
  unreachable: 'a resolver is unreachable from the pod: check its address, and NetworkPolicies for port 53',
  lying: 'a resolver sent 16 messages that do not answer the query: it is broken, or its answers are forged',
  closed: 'a resolver closed the connection before it answered',
  limit:
    'a pod exceeds its limit of pending queries: the rest got SERVFAIL; its resolver is slow, or it sends too many',
  'no resolver':
    'a pod has no resolver: its resolv.conf, or the proxy’s, names none other than this proxy itself',
  case: 'a resolver did not preserve the case of the name: queried again over TCP, which is hard to forge',
  mismatch: 'a resolver sent a message that does not answer the query: dropped',
  malformed: 'a resolver sent an answer with malformed records: dropped',
};

function troubleText(reason: string): string {
  return troubleTexts[reason] ?? reason;
}

function podName({ info }: Pod): string {
  return `${info.namespace}/${info.name}`;
}

function clientOf(workload: Workload): ClientWorkload {
  const { network, canonicalName, canonicalRevision, workloadName, addresses } = workload;
  return { network, canonicalName, canonicalRevision, workloadName, addresses };
}
