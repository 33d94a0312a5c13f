import type { Logger, PodInfo, TablesPod } from '@kmesh/api';
import { kernelBarrier, type NetworkNamespace } from '@kmesh/linux';
import { type MeshChange, type MeshState, RECORDS_KEPT } from '@kmesh/orchestration';
import type { HandoffPodTable } from '../tables/handoff.ts';
import type { KernelTables } from '../tables/kernel-tables.ts';
import { type BypassParts, type CaptureBypass, installCaptureBypass } from './capture-bypass.ts';
import { PodCapture } from './capture-rules.ts';
import { closeDenied } from './close-denied.ts';

interface EnrolledPod {
  readonly info: PodInfo;
  readonly cookie: bigint;
  readonly namespace: NetworkNamespace;
  readonly bypass: Promise<CaptureBypass | undefined>;
  readonly capture: PodCapture;
  /** Where its interfaces meet the wire, once capture lets the kernel path's connections through. */
  wire: CaptureBypass['wire'] | undefined;
  /** No capture rules were found in it; the check is repeated. */
  bare: boolean;
  /** The workload it is enrolled as; `undefined` while the mesh does not know it. */
  workloadUid: string | undefined;
  /** The last workload that it was enrolled as. */
  knownAs: string | undefined;
  /** Whether the tables refused it since it was last enrolled. Each change of the mesh tries again. */
  refused: boolean;
}

/** Delays of further checks, in milliseconds: a connect judged just before a policy change may open just after it. */
const LATER_LOOKS = [150, 1_100];

/** Maximum number of reset sockets whose close event is awaited. */
const MAXIMUM_DENIED = 65_536;

/**
 * Enrols pods in the kernel tables, each once capture lets its connections through and the mesh knows its
 * workload. A pod whose workload is removed leaves the tables, and its connections take the tunnel path.
 */
export class KernelEnrolment {
  readonly #tables: KernelTables;
  readonly #state: MeshState;
  readonly #logger: Logger;
  readonly #parts: BypassParts;
  readonly #handoff: HandoffPodTable | undefined;
  readonly #pods = new Map<string, EnrolledPod>();
  readonly #byCookie = new Map<bigint, EnrolledPod>();
  readonly #removals = new Set<Promise<void>>();
  /** Cached workloads of the pods, since events ask for each connection; recomputed after a change. */
  #served: Set<string | undefined> | undefined;
  /** Workloads of pods that left recently. */
  readonly #departed = new Map<bigint, string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Cookies of sockets that were reset by a policy, until the close of their connection is reported. */
  readonly #denied = new Set<number>();
  readonly #unsubscribe: () => void;
  #closed = false;
  #handsOverNoMore = false;
  #loggedNoWire = false;
  #loggedUndelivered = false;

  /** @param handoff absent: connections of the tunnel path are left to capture */
  constructor(
    path: { readonly tables: KernelTables; readonly bypass: BypassParts },
    state: MeshState,
    logger: Logger,
    handoff?: HandoffPodTable,
  ) {
    this.#tables = path.tables;
    this.#state = state;
    this.#parts = path.bypass;
    this.#handoff = handoff;
    this.#logger = logger;
    this.#unsubscribe = state.subscribe((change) => this.#follow(change));
  }

  /** Enrols a pod, which takes effect a few milliseconds later; until then its connections take the tunnel path. */
  add(uid: string, info: PodInfo, namespace: NetworkNamespace): void {
    const own = namespace.duplicate();
    const capture = new PodCapture(own, `${info.namespace}/${info.name}`, this.#logger);
    const install = () => installCaptureBypass(own, this.#parts);
    const bypass = capture.found.then(install).catch((error: unknown) => {
      this.#logger.warn('a pod stays on the tunnel path: its capture bypass could not be installed', {
        pod: `${info.namespace}/${info.name}`,
        error: String(error),
      });
      return undefined;
    });
    const entry: EnrolledPod = {
      info,
      cookie: namespace.cookie,
      namespace: own,
      bypass,
      capture,
      wire: undefined,
      bare: false,
      workloadUid: undefined,
      knownAs: undefined,
      refused: false,
    };
    this.#pods.set(uid, entry);
    this.#byCookie.set(entry.cookie, entry);
    void this.#serve(uid, entry);
  }

  remove(uid: string): void {
    const entry = this.#pods.get(uid);
    if (entry === undefined) return;
    this.#pods.delete(uid);
    this.#served = undefined;
    if (this.#byCookie.get(entry.cookie) === entry) this.#byCookie.delete(entry.cookie);
    this.#rememberFor(RECORDS_KEPT, entry);
    this.#withdraw(entry.cookie);
    const removal = this.#leave(entry);
    this.#removals.add(removal);
    void removal.finally(() => this.#removals.delete(removal));
  }

  /**
   * Returns the workload of a pod by its namespace cookie, for events, also some time after the pod or workload left.
   */
  workloadUidOf(cookie: bigint): string | undefined {
    return this.#byCookie.get(cookie)?.knownAs ?? this.#departed.get(cookie);
  }

  /** Returns whether the kernel tables decide the connections of a workload's pod. */
  serves(workloadUid: string): boolean {
    this.#served ??= new Set([...this.#pods.values()].map((entry) => entry.workloadUid));
    return this.#served.has(workloadUid);
  }

  /** Returns every pod that was added, and its state in the tables. */
  pods(): TablesPod[] {
    return [...this.#pods.values()].map(({ info, cookie, bare, wire }) => {
      const attested = this.#tables.isAttested(cookie);
      return {
        namespace: info.namespace,
        name: info.name,
        state: attested === undefined ? 'tunnel' : attested ? 'kernel' : 'unattested',
        bare,
        ...(wire !== undefined && wire.size > 0 ? { delivered: isDelivered(wire) } : {}),
      };
    });
  }

  /**
   * Ends hand-off to the proxy, before it stops accepting: connections go through capture, since the next proxy may
   * lack hand-off. A pod without capture rules depends on hand-off and keeps it. Resolves when no connect uses the old
   * state.
   */
  async endHandOver(): Promise<void> {
    if (this.#handoff === undefined || this.#handsOverNoMore) return;
    this.#handsOverNoMore = true;
    for (const { cookie, bare } of this.#pods.values()) if (!bare) this.#handoff.delete(cookie);
    await kernelBarrier();
  }

  /** Returns the namespace cookies of the served pods, once capture lets their connections through. */
  async settled(): Promise<ReadonlySet<bigint>> {
    await Promise.all([...this.#pods.values()].map(({ bypass }) => bypass));
    return new Set(this.#byCookie.keys());
  }

  /** Returns whether a closed socket was reset because a policy denies its connection; true only once per socket. */
  wasDenied(socketCookie: number): boolean {
    return this.#denied.delete(socketCookie);
  }

  /** Resets live connections that these pods accepted and that their changed policies deny. */
  closeDenied(cookies: readonly bigint[]): void {
    const look = () => {
      for (const cookie of cookies) void this.#closeDenied(cookie);
    };
    look();
    for (const delay of LATER_LOOKS) {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        look();
      }, delay);
      this.#timers.add(timer);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    for (const timer of this.#timers) clearTimeout(timer);
    if (this.#parts.pins === undefined) for (const uid of [...this.#pods.keys()]) this.remove(uid);
    for (const entry of this.#pods.values()) {
      entry.capture[Symbol.dispose]();
      (await entry.bypass)?.release();
      entry.namespace.close();
    }
    await Promise.all(this.#removals);
  }

  /** Logs only the first such pod: the others most likely have the same reason. */
  #reportNoWire({ info, namespace }: EnrolledPod): void {
    if (this.#loggedNoWire) return;
    this.#loggedNoWire = true;
    this.#logger.warn('the wire is not attached for a pod: its same-node connections take the tunnel path', {
      pod: `${info.namespace}/${info.name}`,
      error: this.#parts.node.whyNone(namespace),
    });
  }

  /** Logs only the first such pod: other software has its programs at all of them. */
  #reportUndelivered({ info }: EnrolledPod): void {
    if (this.#loggedUndelivered) return;
    this.#loggedUndelivered = true;
    this.#logger.warn(
      'other software has a program at the node side of a pod’s interface: packets between pods of the node are judged, but pass the node’s network',
      { pod: `${info.namespace}/${info.name}` },
    );
  }

  #rememberFor(milliseconds: number, { cookie, knownAs }: EnrolledPod): void {
    if (knownAs === undefined) return;
    this.#departed.set(cookie, knownAs);
    const timer = setTimeout(() => {
      this.#departed.delete(cookie);
      this.#timers.delete(timer);
    }, milliseconds).unref();
    this.#timers.add(timer);
  }

  async #serve(uid: string, entry: EnrolledPod): Promise<void> {
    const { bypass, capture } = entry;
    const captured = await capture.found;
    const installed = await bypass;
    const isServed = () => !this.#closed && this.#pods.get(uid) === entry;
    if (installed === undefined || !isServed()) return;
    entry.wire = installed.wire;
    if (installed.wire.size === 0) this.#reportNoWire(entry);
    else if (!isDelivered(installed.wire)) this.#reportUndelivered(entry);
    entry.bare = !captured;
    this.#enrol(entry);
    if (captured || !(await capture.appears()) || !isServed()) return;
    entry.bare = false;
    this.#enrol(entry);
  }

  async #closeDenied(cookie: bigint): Promise<void> {
    const entry = this.#byCookie.get(cookie);
    if (entry === undefined) return;
    try {
      const closed = await closeDenied(
        entry.namespace,
        ({ remoteIp, localPort }) => this.#tables.allows(cookie, this.#cookieOf(remoteIp), localPort),
        (socketCookie) => this.#noteDenied(socketCookie),
      );
      if (closed === 0) return;
      this.#logger.info('closed kernel path connections that policies now deny', {
        pod: `${entry.info.namespace}/${entry.info.name}`,
        connections: closed,
      });
    } catch (error) {
      if (this.#byCookie.get(cookie) !== entry) return;
      this.#logger.error('live connections could not be checked against changed policies', {
        pod: `${entry.info.namespace}/${entry.info.name}`,
        error: String(error),
      });
    }
  }

  #noteDenied(socketCookie: number): void {
    // Events may be lost.
    if (this.#denied.size >= MAXIMUM_DENIED) this.#denied.clear();
    this.#denied.add(socketCookie);
  }

  #cookieOf(ip: string): bigint | undefined {
    for (const entry of this.#byCookie.values()) {
      const { workloadUid } = entry;
      if (workloadUid !== undefined && this.#state.workload(workloadUid)?.addresses.includes(ip))
        return entry.cookie;
    }
    return undefined;
  }

  async #leave(entry: EnrolledPod): Promise<void> {
    entry.capture[Symbol.dispose]();
    try {
      await (await entry.bypass)?.remove();
    } catch (error) {
      this.#logger.debug('the rules of a pod could not be removed; the pod is probably gone', {
        pod: `${entry.info.namespace}/${entry.info.name}`,
        error: String(error),
      });
    } finally {
      entry.namespace.close();
    }
  }

  #withdraw(cookie: bigint): void {
    this.#tables.remove(cookie);
    this.#handoff?.delete(cookie);
  }

  /** The proxy listens already: pods are served by the tunnel before they are enrolled here. */
  #handOver({ info, cookie, bare }: EnrolledPod, addresses: readonly string[]): void {
    if (this.#handsOverNoMore && !bare) return;
    try {
      this.#handoff?.set(cookie, addresses);
    } catch (error) {
      this.#logger.warn('hand-off is unavailable for a pod: its tunnelled connections go through capture', {
        pod: `${info.namespace}/${info.name}`,
        error: String(error),
      });
    }
  }

  #follow(change: MeshChange): void {
    if (change.workloads.size === 0) return;
    for (const entry of this.#pods.values()) {
      if (entry.workloadUid === undefined || change.workloads.has(entry.workloadUid)) this.#enrol(entry);
    }
  }

  #enrol(entry: EnrolledPod): void {
    const { info, cookie, bare, wire } = entry;
    if (wire === undefined) return;
    const workload = this.#state.localWorkload(info.namespace, info.serviceAccount, info.name);
    if (workload === undefined) {
      if (entry.workloadUid !== undefined) this.#withdraw(cookie);
      this.#isServedAs(entry, undefined);
      return;
    }
    if (this.#tables.enrol(cookie, workload, true, { bare, wire })) {
      this.#isServedAs(entry, workload.uid);
      entry.knownAs = workload.uid;
      entry.refused = false;
      this.#handOver(entry, workload.addresses);
      return;
    }
    this.#handoff?.delete(cookie);
    this.#isServedAs(entry, undefined);
    if (entry.refused) return;
    entry.refused = true;
    this.#logger.warn('a pod stays on the tunnel path: the kernel tables cannot serve it', {
      pod: `${info.namespace}/${info.name}`,
    });
  }

  #isServedAs(entry: EnrolledPod, workloadUid: string | undefined): void {
    entry.workloadUid = workloadUid;
    this.#served = undefined;
  }
}

function isDelivered(wire: CaptureBypass['wire']): boolean {
  return [...wire.values()].every(({ delivered }) => delivered);
}
