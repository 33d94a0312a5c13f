import type { Service } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import { GENERIC_NAMESPACE, ipFamily, isRoutePick, serviceKey } from '@kmesh/orchestration';
import { scopedNamespaces } from './address-entries.ts';
import type { EndpointArray, EndpointRange } from './endpoints.ts';
import type { Identifiers } from './identifiers.ts';
import type { ServicePorts } from './service-slots.ts';
import { compilePort, type EndpointSlot, type PortSlots } from './service-slots.ts';

/** A service port in the kernel tables. */
interface CompiledPort {
  readonly id: number;
  /** Picks of routes named by its slots. */
  picks4: readonly string[];
  picks6: readonly string[];
  range4: EndpointRange | undefined;
  range6: EndpointRange | undefined;
}

interface CompiledService {
  readonly id: number;
  readonly ports: Map<number, CompiledPort>;
  /** The ports as seen by namespaces with different routes, by namespace. */
  readonly scoped: Map<string, Map<number, CompiledPort>>;
}

/** Ranges and ids that must not be reused until the next barrier. */
interface Garbage {
  readonly ranges: EndpointRange[];
  readonly servicePorts: number[];
  readonly picks: string[];
}

/** Keeps the ranges of every service port up to date; replaced ranges go into `garbage`. */
export class ServiceCompiler {
  readonly #servicePorts: ServicePorts;
  readonly #endpoints: EndpointArray;
  readonly #serviceIds: Identifiers;
  readonly #workloadId: (uid: string) => number;
  readonly #compiled = new Map<string, CompiledService>();
  /** Number of runs of slots that name a pick of a route. */
  readonly #picks = new Map<string, number>();
  garbage: Garbage = { ranges: [], servicePorts: [], picks: [] };

  constructor(
    servicePorts: ServicePorts,
    endpoints: EndpointArray,
    serviceIds: Identifiers,
    workloadId: (uid: string) => number,
  ) {
    this.#servicePorts = servicePorts;
    this.#endpoints = endpoints;
    this.#serviceIds = serviceIds;
    this.#workloadId = workloadId;
  }

  /** Returns the id of a service for telemetry. */
  serviceId(service: Service): number {
    return this.#serviceIds.idOf(serviceKey(service));
  }

  keys(): Iterable<string> {
    return this.#compiled.keys();
  }

  /**
   * Returns the id of a service port as seen by clients of a namespace, or undefined when it is not declared. Compiles
   * the service if needed.
   */
  portId(
    view: MeshView,
    node: LocalitySource,
    service: Service,
    { port, clientNamespace }: { readonly port: number; readonly clientNamespace: string },
  ): number | undefined {
    const key = serviceKey(service);
    if (!this.#compiled.has(key)) this.compile(view, node, key);
    const compiled = this.#compiled.get(key);
    return (compiled?.scoped.get(clientNamespace) ?? compiled?.ports)?.get(port)?.id;
  }

  /**
   * Compiles a service and flips changed ranges. Ports that the service no longer declares keep their
   * last endpoints until {@link ServiceCompiler.dropPorts}, after the frontends that lead there are gone.
   */
  compile(view: MeshView, node: LocalitySource, key: string): void {
    const service = view.service(key);
    if (service === undefined) return;
    const families = familiesOf(service, node.network);
    if (families.size === 0) return;
    let compiled = this.#compiled.get(key);
    if (compiled === undefined) {
      compiled = { id: this.#serviceIds.idOf(key), ports: new Map(), scoped: new Map() };
      this.#compiled.set(key, compiled);
    }
    const inputs = { view, node, service, families };
    this.#compilePorts(inputs, compiled.ports, GENERIC_NAMESPACE);
    for (const namespace of scopedNamespaces(view, service)) {
      let ports = compiled.scoped.get(namespace);
      if (ports === undefined) {
        ports = new Map();
        compiled.scoped.set(namespace, ports);
      }
      this.#compilePorts(inputs, ports, namespace);
    }
  }

  /** Forgets ports and services that no longer exist; call it when no frontend leads to them. */
  dropPorts(view: MeshView, node: LocalitySource, key: string): void {
    const compiled = this.#compiled.get(key);
    if (compiled === undefined) return;
    const service = view.service(key);
    const live =
      service !== undefined && familiesOf(service, node.network).size > 0 ? service.ports : undefined;
    this.#drop(compiled.ports, live);
    if (compiled.scoped.size > 0) {
      const namespaces = service === undefined ? [] : scopedNamespaces(view, service);
      for (const [namespace, ports] of compiled.scoped) {
        const kept = namespaces.includes(namespace) ? live : undefined;
        this.#drop(ports, kept);
        if (kept === undefined) compiled.scoped.delete(namespace);
      }
    }
    if (live !== undefined) return;
    this.#compiled.delete(key);
    this.#serviceIds.release(key);
  }

  #compilePorts(inputs: CompileInputs, ports: Map<number, CompiledPort>, clientNamespace: string): void {
    const { service, families } = inputs;
    for (const port of service.ports.keys()) {
      let target = ports.get(port);
      if (target === undefined) {
        const id = this.#servicePorts.add();
        target = { id, range4: undefined, range6: undefined, picks4: none, picks6: none };
        ports.set(port, target);
      }
      for (const family of [4, 6] as const) {
        const slots = families.has(family)
          ? compilePort(inputs.view, inputs.node, { service, port, family, clientNamespace })
          : noSlots;
        this.#update(target, family, slots);
      }
    }
  }

  #drop(ports: Map<number, CompiledPort>, live: ReadonlyMap<number, number> | undefined): void {
    for (const [port, { id, range4, range6, picks4, picks6 }] of ports) {
      if (live?.has(port)) continue;
      ports.delete(port);
      this.garbage.servicePorts.push(id);
      for (const range of [range4, range6]) if (range !== undefined) this.garbage.ranges.push(range);
      this.#releasePicks([...picks4, ...picks6]);
    }
  }

  #update(target: CompiledPort, family: 4 | 6, slots: PortSlots): void {
    const previous = family === 4 ? target.range4 : target.range6;
    const next = this.#place(family, slots, previous);
    if (next === previous) return;
    this.#servicePorts.flip(target.id, family, next);
    if (previous !== undefined) this.garbage.ranges.push(previous);
    const picks = slots.kind === 'slots' ? picksOf(slots.slots) : none;
    for (const pick of picks) this.#picks.set(pick, (this.#picks.get(pick) ?? 0) + 1);
    if (family === 4) {
      this.#releasePicks(target.picks4);
      target.range4 = next;
      target.picks4 = picks;
    } else {
      this.#releasePicks(target.picks6);
      target.range6 = next;
      target.picks6 = picks;
    }
  }

  #place(family: 4 | 6, slots: PortSlots, previous: EndpointRange | undefined): EndpointRange | undefined {
    if (slots.kind === 'none') return undefined;
    if (slots.kind === 'tunnel') return this.#endpoints.tunnel[family];
    if (previous !== undefined && this.#endpoints.holds(previous, slots.slots, this.#workloadId))
      return previous;
    return this.#endpoints.place(family, slots.slots, this.#workloadId);
  }

  #releasePicks(picks: readonly string[]): void {
    for (const pick of picks) {
      const count = (this.#picks.get(pick) ?? 1) - 1;
      if (count > 0) this.#picks.set(pick, count);
      else {
        this.#picks.delete(pick);
        this.garbage.picks.push(pick);
      }
    }
  }

  /** Returns whether a slot names a pick of a route. */
  usesPick(pick: string): boolean {
    return this.#picks.has(pick);
  }
}

/** Inputs of compiling the ports of one service. */
interface CompileInputs {
  readonly view: MeshView;
  readonly node: LocalitySource;
  readonly service: Service;
  readonly families: ReadonlySet<4 | 6>;
}

const none: readonly never[] = [];
const noSlots: PortSlots = { kind: 'none' };

function picksOf(slots: readonly EndpointSlot[]): readonly string[] {
  const picks = new Set<string>();
  for (const { choice } of slots) if (isRoutePick(choice.workloadUid)) picks.add(choice.workloadUid);
  return picks.size === 0 ? none : [...picks];
}

/** Returns the families of the addresses under which a service can be dialled on this network. */
function familiesOf(service: Service, network: string): Set<4 | 6> {
  const families = new Set<4 | 6>();
  for (const vip of service.vips) if (vip.network === network) families.add(ipFamily(vip.ip));
  for (const vip of service.cidrVips) if (vip.network === network) families.add(ipFamily(vip.cidr));
  return families;
}
