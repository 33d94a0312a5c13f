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
  /** No capture rules were found in it, which is looked for again. */
  bare: boolean;
  /** The workload it was enrolled as; `undefined` while the mesh does not know it. */
  workloadUid: string | undefined;
  /** The last one that it was enrolled as. */
  knownAs: string | undefined;
}

/** A connect that passed just before a policy changed may open just after: looked for again after these milliseconds. */
const LATER_LOOKS = [150, 1_100];

/** Reset sockets whose end is awaited. */
const MOST_DENIED = 65_536;

/**
 * Enrols pods in the kernel tables, each as soon as capture lets its connections through and the mesh knows its
 * workload; a pod whose workload goes leaves the tables, and its connections take the tunnel path.
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
  /** Workloads of the pods, for events ask for each connection; made anew after a change. */
  #served: Set<string | undefined> | undefined;
  /** Workloads of pods that left a moment ago. */
  readonly #departed = new Map<bigint, string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Cookies of sockets that were reset because a policy denies them, until the close of their connection is reported. */
  readonly #denied = new Set<number>();
  readonly #unsubscribe: () => void;
  #closed = false;
  #handsOverNoMore = false;
  #toldNoWire = false;

  /** @param handoff absent: what must be tunnelled is left to capture */
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

  /** Takes effect a few milliseconds later; until then the pod's connections take the tunnel path. */
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

  /** Workload of a pod by its namespace cookie, for events, which may come when the pod or its workload has left. */
  workloadUidOf(cookie: bigint): string | undefined {
    return this.#byCookie.get(cookie)?.knownAs ?? this.#departed.get(cookie);
  }

  /** Whether the connections of a workload's pod are decided by the kernel tables. */
  serves(workloadUid: string): boolean {
    this.#served ??= new Set([...this.#pods.values()].map((entry) => entry.workloadUid));
    return this.#served.has(workloadUid);
  }

  /** Every pod that was added, and how the tables have it. */
  pods(): TablesPod[] {
    return [...this.#pods.values()].map(({ info, cookie, bare }) => {
      const attested = this.#tables.isAttested(cookie);
      return {
        namespace: info.namespace,
        name: info.name,
        state: attested === undefined ? 'tunnel' : attested ? 'kernel' : 'unattested',
        bare,
      };
    });
  }

  /**
   * Leaves to capture what would be handed over to the proxy: before it stops accepting, for the next one may be of another
   * kind. A pod without capture rules has nothing else, and stays. Back when no connect decides by what was before.
   */
  async endHandOver(): Promise<void> {
    if (this.#handoff === undefined || this.#handsOverNoMore) return;
    this.#handsOverNoMore = true;
    for (const { cookie, bare } of this.#pods.values()) if (!bare) this.#handoff.delete(cookie);
    await kernelBarrier();
  }

  /** Namespace cookies of the pods that are served, once capture lets their connections through. */
  async settled(): Promise<ReadonlySet<bigint>> {
    await Promise.all([...this.#pods.values()].map(({ bypass }) => bypass));
    return new Set(this.#byCookie.keys());
  }

  /** Whether a socket that has ended was reset because a policy denies its connection now. Says so once. */
  wasDenied(socketCookie: number): boolean {
    return this.#denied.delete(socketCookie);
  }

  /** Policies of these pods changed: what they accepted and may not have now is reset. */
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

  /** Of the first such pod: the others have it for the same reason, most likely. */
  #tellNoWire({ info, namespace }: EnrolledPod): void {
    if (this.#toldNoWire) return;
    this.#toldNoWire = true;
    this.#logger.warn('the wire is not attached for a pod: its same-node connections take the tunnel path', {
      pod: `${info.namespace}/${info.name}`,
      error: this.#parts.node.whyNone(namespace),
    });
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
    if (installed.wire.size === 0) this.#tellNoWire(entry);
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
    if (this.#denied.size >= MOST_DENIED) this.#denied.clear();
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
      this.#logger.debug('the rules of a pod could not be removed; it is gone, most likely', {
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

  /** The proxy listens by now: pods are served by the tunnel before they are enrolled here. */
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
      this.#handOver(entry, workload.addresses);
      return;
    }
    this.#handoff?.delete(cookie);
    this.#isServedAs(entry, undefined);
    this.#logger.warn('a pod stays on the tunnel path: the kernel tables cannot serve it', {
      pod: `${info.namespace}/${info.name}`,
    });
  }

  #isServedAs(entry: EnrolledPod, workloadUid: string | undefined): void {
    entry.workloadUid = workloadUid;
    this.#served = undefined;
  }
}
