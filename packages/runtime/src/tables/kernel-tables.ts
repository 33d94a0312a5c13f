import type { Identity, Locality, TableUsage, Workload } from '@kmesh/api';
import type { LocalitySource, MeshChange, MeshView, NodeContext } from '@kmesh/orchestration';
import { addChange, type ChangeDraft, emptyChange, Slicer } from '@kmesh/orchestration';
import { compileAddress, type FrontendIds } from './address-entries.ts';
import { CidrTable } from './cidr-table.ts';
import { type ConnectOutcome, connectOutcomes, frontendFor, isUnreachable } from './connect-outcomes.ts';
import { EndpointArray } from './endpoints.ts';
import type { FrontendEntry } from './frontend-slots.ts';
import { FrontendSlots } from './frontend-slots.ts';
import { FrontendTable } from './frontend-table.ts';
import { kmeshConstant, kmeshEvents, kmeshSettingsLayout } from './gen/layouts.ts';
import { Identifiers } from './identifiers.ts';
import type { KernelMaps } from './kernel-object.ts';
import { DEFAULT_LEASE_MILLISECONDS, Lease } from './lease.ts';
import { PodAddressTable, PodTable, type WireEnd } from './pods.ts';
import { ServiceCompiler } from './service-compiler.ts';
import { ServicePorts } from './service-slots.ts';
import { Verdicts, VerdictTable } from './verdicts.ts';

/** Options of {@link KernelTables}. */
interface KernelTablesOptions {
  readonly view: MeshView;
  readonly node: NodeContext;
  readonly maps: KernelMaps;
  /** Resolves when no program that was running at the call still runs: `kernelBarrier`. */
  readonly barrier: () => Promise<void>;
  /** First id of workloads, services and identities; 1 by default. Sockets keep their ids and outlive a daemon. */
  readonly firstId?: number;
  /**
   * Called with the cookies of enrolled pods whose policies changed, once the old ones admit no new connection.
   * Live connections are then to be checked with {@link KernelTables.allows}.
   */
  readonly onRevoked?: (cookies: readonly bigint[]) => void;
  /**
   * Returns whether the daemon holds a valid certificate of an identity; without one the kernel path does not treat the
   * identity as certain. Default: always. See {@link KernelTables.reconsider}.
   */
  readonly isCertain?: (identity: Identity) => boolean;
  /** Lease of the programs in milliseconds when the process is gone; 60,000 by default. */
  readonly leaseMilliseconds?: number;
  /** Maximum time to block the event loop, in milliseconds; 4 by default. */
  readonly sliceMilliseconds?: number;
}

/** Properties of a pod that are known when it is enrolled. */
interface PodPlace {
  /** istio-cni's redirect rules were not found in it. */
  readonly bare?: boolean;
  /** Where the wire is attached to it, by address; none: connections between it and other pods take the tunnel path. */
  readonly wire?: ReadonlyMap<string, WireEnd>;
}

interface EnrolledPod {
  readonly workload: Workload;
  readonly captured: boolean;
  readonly place: PodPlace;
  readonly certain: boolean;
}

const noWire: ReadonlyMap<string, WireEnd> = new Map();

const noLocality: Locality = { region: '', zone: '', subzone: '' };

/**
 * Keeps the kernel tables equal to the mesh: compiles what a change touched and writes the differences, in an order in
 * which no connect sees a half-written state (bpf/order.h). What does not fit goes to the tunnel path and is counted.
 *
 * All pods of a node share its locality: the first enrolled pod defines it; a pod with another one is not enrolled
 * and stays on the tunnel path.
 */
export class KernelTables {
  readonly #view: MeshView;
  readonly #barrier: () => Promise<void>;
  readonly #slice: number;
  readonly #settings: DataView;
  readonly #endpoints: EndpointArray;
  readonly #servicePorts: ServicePorts;
  readonly #frontends: FrontendTable;
  readonly #cidrs: CidrTable;
  readonly #pods: PodTable;
  readonly #enrolled = new Map<bigint, EnrolledPod>();
  readonly #isCertain: (identity: Identity) => boolean;
  readonly #lease: Lease | undefined;
  readonly #podAddresses: PodAddressTable | undefined;
  readonly #verdictTable: VerdictTable | undefined;
  readonly #unreachable: KernelMaps['unreachable'];
  readonly #verdicts: Verdicts | undefined;
  readonly #onRevoked: ((cookies: readonly bigint[]) => void) | undefined;
  #revoked: bigint[] = [];
  readonly #compiler: ServiceCompiler;
  readonly #serviceIds: Identifiers;
  readonly #workloadIds: Identifiers;
  readonly #namespaceIds = new Identifiers();
  readonly #ids: FrontendIds;
  #node: LocalitySource;
  #localityKnown = false;
  #pending: ChangeDraft | undefined;
  #waiting: PromiseWithResolvers<void> | undefined;
  #running = false;

  constructor(options: KernelTablesOptions) {
    const { view, maps } = options;
    this.#view = view;
    this.#barrier = options.barrier;
    this.#serviceIds = new Identifiers(options.firstId);
    this.#workloadIds = new Identifiers(options.firstId);
    this.#isCertain = options.isCertain ?? (() => true);
    const leaseMilliseconds = options.leaseMilliseconds ?? DEFAULT_LEASE_MILLISECONDS;
    this.#lease =
      maps.lease === undefined ? undefined : new Lease(maps.lease, options.node.node, leaseMilliseconds);
    const withdrawn = () => this.#lease?.advance();
    this.#slice = options.sliceMilliseconds ?? 4;
    this.#node = { ...options.node, locality: noLocality };
    this.#settings = new DataView(maps.settings);
    this.#endpoints = new EndpointArray(maps.endpoints);
    const hashKeys = new BigUint64Array(maps.settings, kmeshSettingsLayout.hashKeys, kmeshConstant.hashKeys);
    const slots = new FrontendSlots(maps.frontends, hashKeys);
    this.#servicePorts = new ServicePorts((slot, family, range) => slots.flip(slot, family, range));
    this.#frontends = new FrontendTable(slots, this.#servicePorts);
    this.#cidrs = new CidrTable(maps.cidrFrontends);
    this.#pods = new PodTable(maps.pods);
    this.#podAddresses =
      maps.podAddresses === undefined ? undefined : new PodAddressTable(maps.podAddresses, withdrawn);
    this.#verdictTable = maps.verdicts === undefined ? undefined : new VerdictTable(maps.verdicts, withdrawn);
    this.#verdicts =
      this.#verdictTable === undefined ? undefined : new Verdicts(view, this.#verdictTable, options.firstId);
    this.#unreachable = maps.unreachable;
    this.#onRevoked = options.onRevoked;
    const workloadId = (uid: string) => this.#workloadIds.idOf(uid);
    this.#compiler = new ServiceCompiler(this.#servicePorts, this.#endpoints, this.#serviceIds, workloadId);
    this.#ids = {
      portId: (service, port, clientNamespace) =>
        this.#compiler.portId(view, this.#node, service, { port, clientNamespace }),
      serviceId: (service) => this.#compiler.serviceId(service),
      workloadId,
      namespaceId: (namespace) => this.#namespaceIds.idOf(namespace),
    };
  }

  /**
   * Updates the tables after a change of the view. When the promise resolves, every connect, running ones included,
   * decides by the view as of this call (or later). Changes that arrive meanwhile are combined. Call it immediately
   * after each change of the view, in the listener of `MeshState.subscribe`.
   *
   * @throws SystemCallError `KMESH_BPF_MAP_FAILED`, `KMESH_BARRIER_FAILED`
   */
  apply(change: MeshChange): Promise<void> {
    // Before computing anything: from now on no removed policy admits a client.
    this.#revoked.push(...(this.#verdicts?.withdrawChanged() ?? []));
    this.#pending ??= emptyChange();
    addChange(this.#pending, change);
    this.#waiting ??= Promise.withResolvers();
    const { promise } = this.#waiting;
    if (!this.#running) void this.#run();
    return promise;
  }

  /**
   * Enrols a pod by the cookie of its network namespace, effective immediately. Returns false, counted, when the tables
   * cannot serve it: its connections stay on the tunnel path.
   */
  enrol(cookie: bigint, workload: Workload, captured: boolean, place: PodPlace = {}): boolean {
    if (!this.#adoptLocality(workload)) {
      this.#pods.delete(cookie);
      this.#enrolled.delete(cookie);
      this.#pods.refuse('other-locality');
      return false;
    }
    const { wire = noWire } = place;
    const certain = this.#isCertain(workload);
    this.#enrolled.set(cookie, { workload, captured, place, certain });
    const workloadId = this.#workloadIds.idOf(workload.uid);
    const identityId = certain ? (this.#verdicts?.identityId(workload) ?? 0) : 0;
    this.#podAddresses?.set(cookie, workload.addresses, { workloadId, identityId, wire });
    // Without the wire, no connection between pods may take it.
    const reached = wire.size > 0 && workload.addresses.every((address) => wire.has(address));
    this.#verdicts?.add(cookie, workload, workloadId, certain && reached);
    return this.#pods.set(cookie, {
      workloadId,
      identityId: reached ? identityId : 0,
      namespaceId: this.#namespaceIds.idOf(workload.namespace),
      captured,
      bare: place.bare ?? false,
    });
  }

  /** Removes a pod: from this instant on the programs ignore its sockets. Returns false when it was not enrolled. */
  remove(cookie: bigint): boolean {
    this.#enrolled.delete(cookie);
    this.#podAddresses?.delete(cookie);
    this.#verdicts?.remove(cookie);
    return this.#pods.delete(cookie);
  }

  /**
   * Rechecks which identities are certain, after certificates were added, removed or revoked. Lost ones are withdrawn
   * immediately. Returns whether anything changed; {@link KernelTables.apply} then waits until no program uses the old
   * state.
   */
  reconsider(): boolean {
    let changed = false;
    let lost = false;
    for (const [cookie, { workload, captured, place, certain }] of this.#enrolled) {
      if (this.#isCertain(workload) === certain) continue;
      this.enrol(cookie, workload, captured, place);
      changed = true;
      lost ||= certain;
    }
    // Any pod may have accepted connections of an identity that is no longer certain.
    if (lost) this.#revoked.push(...this.#enrolled.keys());
    return changed;
  }

  /** Returns the identities of the enrolled pods. */
  identities(): readonly Identity[] {
    return [...this.#enrolled.values()].map(({ workload }) => workload);
  }

  /** Ends the lease: from this instant on the programs decide nothing, and every connection is left to capture. */
  endLease(): void {
    this.#lease?.end();
  }

  /**
   * Returns whether the kernel path allows a pod's connection now; `client` is the other pod's cookie, if it is a pod.
   */
  allows(cookie: bigint, client: bigint | undefined, port: number): boolean {
    return this.#verdicts?.allows(cookie, client, port) ?? false;
  }

  /** Whether a change passed to {@link KernelTables.apply} is not yet in effect. */
  get behind(): boolean {
    return this.#running;
  }

  /** Returns whether an enrolled pod is attested to other pods of the node; `undefined` when it is not enrolled. */
  isAttested(cookie: bigint): boolean | undefined {
    return this.#pods.has(cookie) ? this.#pods.identityOf(cookie) !== 0 : undefined;
  }

  /** Returns how full every table is, and how many entries were refused. */
  usage(): TableUsage[] {
    const tables = [this.#pods, this.#frontends, this.#cidrs, this.#endpoints];
    return [...tables, ...(this.#verdictTable === undefined ? [] : [this.#verdictTable])].map((table) =>
      table.usage(),
    );
  }

  /** Returns the uid of a workload id of an event or a frontend, also some time after the workload is gone. */
  workloadUid(id: number): string | undefined {
    return this.#workloadIds.nameOf(id);
  }

  /** Returns `namespace/hostname` of a service id. */
  serviceKey(id: number): string | undefined {
    return this.#serviceIds.nameOf(id);
  }

  /** Returns the identity of an attested client by its id. */
  identity(id: number): Identity | undefined {
    return this.#verdicts?.identity(id);
  }

  /** Returns the client namespace of a frontend by its id. */
  namespaceName(id: number): string | undefined {
    return this.#namespaceIds.nameOf(id);
  }

  /** Returns the entries of an address, for explanations. */
  frontendsOf(ip: string): readonly FrontendEntry[] {
    return this.#frontends.entriesOf({ ip });
  }

  /**
   * Returns the possible outcomes of a connect of a workload's pod by the current tables, each with its share of the
   * draws; `undefined` when the pod is not enrolled here.
   *
   * @param destination as it is dialled, canonical
   */
  connectOutcomes(
    workloadUid: string,
    destination: { readonly ip: string; readonly port: number },
  ): readonly ConnectOutcome[] | undefined {
    for (const [cookie, { workload, captured, place }] of this.#enrolled) {
      if (workload.uid !== workloadUid || !this.#pods.has(cookie)) continue;
      const identity = this.#pods.identityOf(cookie);
      const namespaceId = this.#namespaceIds.find(workload.namespace);
      const tables = {
        frontend: (ip: string, port: number) =>
          frontendFor(this.#frontends, this.#cidrs, { ip, port, namespaceId }),
        range: (servicePort: number, family: 4 | 6) => this.#servicePorts.rangeOf(servicePort, family),
        endpoints: this.#endpoints,
        mayStay: (id: number, port: number) =>
          identity !== 0 && this.#verdictTable?.allows(id, identity, port) === true,
        isUnreachable: (id: number, port: number) => isUnreachable(this.#unreachable, id, port),
        incomplete: this.#frontends.incomplete || this.#cidrs.incomplete,
      };
      return connectOutcomes(tables, {
        ...destination,
        captured: captured && place.bare !== true,
        own: this.#workloadIds.idOf(workload.uid),
      });
    }
    return undefined;
  }

  /** Sets what the kernel programs report: `ends` of connections (the default), openings too, or nothing. */
  setEvents(wanted: keyof typeof kmeshEvents): void {
    this.#settings.setUint32(kmeshSettingsLayout.events, kmeshEvents[wanted], true);
  }

  #adoptLocality(workload: Workload): boolean {
    const { network, locality, node, clusterId } = workload;
    if (network !== this.#node.network) return false;
    if (this.#localityKnown) {
      const own = this.#node;
      return (
        own.node === node &&
        own.clusterId === clusterId &&
        own.locality.region === locality.region &&
        own.locality.zone === locality.zone &&
        own.locality.subzone === locality.subzone
      );
    }
    this.#localityKnown = true;
    this.#node = { network, locality, node, clusterId };
    const ranked = new Set<string>();
    for (const key of this.#compiler.keys()) {
      if ((this.#view.service(key)?.loadBalancer?.routingPreferences.length ?? 0) > 0) ranked.add(key);
    }
    const none = new Set<string>();
    void this.apply({ workloads: none, services: ranked, policies: none, addresses: none, cidrs: false });
    return true;
  }

  async #run(): Promise<void> {
    this.#running = true;
    // One turn later, so that changes of the same turn share a barrier.
    await Promise.resolve();
    for (;;) {
      const change = this.#pending;
      const waiting = this.#waiting;
      if (change === undefined || waiting === undefined) break;
      this.#pending = undefined;
      this.#waiting = undefined;
      try {
        await this.#flush(change);
        waiting.resolve();
      } catch (error) {
        waiting.reject(error);
      }
    }
    this.#running = false;
  }

  async #flush(change: MeshChange): Promise<void> {
    const slicer = new Slicer(this.#slice);
    const view = this.#view;
    const addresses = new Set<string>();
    const compiledFrom = new Map<string, unknown>();
    let rebuildCidrs = change.cidrs;

    for (const key of change.services) {
      const service = view.service(key);
      compiledFrom.set(key, service);
      this.#compiler.compile(view, this.#node, key);
      for (const vip of service?.vips ?? []) if (vip.network === this.#node.network) addresses.add(vip.ip);
      if (this.#cidrs.concerns(key, service)) {
        this.#cidrs.note(key, service, this.#ids);
        rebuildCidrs = true;
      }
      if (slicer.due) await slicer.pause();
    }

    let writeCidrs = () => false;
    if (rebuildCidrs) {
      // A CIDR may cover any address that is known for another reason.
      if (change.cidrs)
        for (const key of this.#frontends.keys()) if (!key.startsWith('#')) addresses.add(key);
      writeCidrs = this.#cidrs.rebuild(view, this.#node, this.#ids, this.#frontends);
    }
    for (const key of this.#frontends.reduced) if (!key.startsWith('#')) addresses.add(key);
    // Services first: early keys get the first slot of their hash in `frontends`, found without a second probe.
    for (const ip of addresses) {
      this.#stageAddress(ip);
      if (slicer.due) await slicer.pause();
    }
    for (const ip of this.#ownAddresses(change.addresses)) {
      if (addresses.has(ip)) continue;
      this.#stageAddress(ip);
      if (slicer.due) await slicer.pause();
    }

    const dirty = this.#frontends.dirty;
    await this.#frontends.flush(slicer, this.#barrier);
    const cidrsChanged = writeCidrs();
    this.#writeSettings();

    const again: string[] = [];
    for (const key of change.services) {
      // If the service changed again while this flush yielded, the next turn knows which ports are unreferenced.
      if (compiledFrom.get(key) === view.service(key)) this.#compiler.dropPorts(view, this.#node, key);
      else again.push(key);
      if (slicer.due) await slicer.pause();
    }
    for (const uid of change.workloads) {
      if (view.workload(uid) === undefined) this.#workloadIds.release(uid);
      if (slicer.due) await slicer.pause();
    }
    const { garbage } = this.#compiler;
    this.#compiler.garbage = { ranges: [], servicePorts: [], picks: [] };
    const revoked = this.#revoked.splice(0);
    if (revoked.length > 0 || dirty || cidrsChanged || garbage.ranges.length > 0) await this.#barrier();
    await this.#verdicts?.recompute(slicer);
    if (revoked.length > 0) this.#onRevoked?.(revoked);
    for (const range of garbage.ranges) {
      this.#endpoints.free(range);
      if (slicer.due) await slicer.pause();
    }
    for (const pick of garbage.picks) if (!this.#compiler.usesPick(pick)) this.#workloadIds.release(pick);
    for (const id of garbage.servicePorts) this.#servicePorts.remove(id);
    this.#frontends.freeRetired();
    if (again.length > 0) this.#requeue(again);
  }

  #stageAddress(ip: string): void {
    this.#frontends.stage({ ip }, compileAddress(this.#view, this.#node, ip, this.#ids));
  }

  #requeue(services: readonly string[]): void {
    const none = new Set<string>();
    const change = {
      workloads: none,
      services: new Set(services),
      policies: none,
      addresses: none,
      cidrs: false,
    };
    void this.apply(change).catch(() => {});
  }

  /** Yields the IPs on this node's network among `network/ip` texts. */
  *#ownAddresses(addresses: Iterable<string>): Generator<string> {
    for (const address of addresses) {
      const slash = address.lastIndexOf('/');
      if (address.slice(0, slash) === this.#node.network) yield address.slice(slash + 1);
    }
  }

  #writeSettings(): void {
    const incomplete = this.#frontends.incomplete || this.#cidrs.incomplete;
    this.#settings.setUint32(kmeshSettingsLayout.cidrFrontends, this.#cidrs.size, true);
    this.#settings.setUint32(kmeshSettingsLayout.incomplete, incomplete ? 1 : 0, true);
  }
}
