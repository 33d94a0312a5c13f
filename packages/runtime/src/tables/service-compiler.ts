import type { Service } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import { ipFamily, serviceKey } from '@kmesh/orchestration';
import { type EndpointArray, TUNNEL_RANGE } from './endpoint-array.ts';
import type { Identifiers } from './identifiers.ts';
import type { SlotRange } from './range-allocator.ts';
import type { ServicePorts } from './service-ports.ts';
import { compilePort } from './service-slots.ts';

/** A service port in the kernel tables. */
interface CompiledPort {
  readonly id: number;
  range4: SlotRange | undefined;
  range6: SlotRange | undefined;
}

interface CompiledService {
  readonly id: number;
  readonly ports: Map<number, CompiledPort>;
}

/** What must not be reused until the next barrier. */
interface Garbage {
  readonly ranges: SlotRange[];
  readonly servicePorts: number[];
}

/** Keeps the ranges of every service port up to date. What it replaces goes into `garbage`. */
export class ServiceCompiler {
  readonly #servicePorts: ServicePorts;
  readonly #endpoints: EndpointArray;
  readonly #serviceIds: Identifiers;
  readonly #workloadId: (uid: string) => number;
  readonly #compiled = new Map<string, CompiledService>();
  garbage: Garbage = { ranges: [], servicePorts: [] };

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

  /** Id of a service for telemetry. */
  serviceId(service: Service): number {
    return this.#serviceIds.idOf(serviceKey(service));
  }

  keys(): Iterable<string> {
    return this.#compiled.keys();
  }

  /** The id of a service port, or undefined when it is not declared. Compiles a service that was not yet. */
  portId(view: MeshView, node: LocalitySource, service: Service, port: number): number | undefined {
    const key = serviceKey(service);
    if (!this.#compiled.has(key)) this.compile(view, node, key);
    return this.#compiled.get(key)?.ports.get(port)?.id;
  }

  /**
   * Compiles a service as it is now and flips what changed. Ports that the service no longer declares keep their
   * last endpoints until {@link ServiceCompiler.dropPorts}, after the frontends that lead there are gone.
   */
  compile(view: MeshView, node: LocalitySource, key: string): void {
    const service = view.service(key);
    if (service === undefined) return;
    const families = familiesOf(service, node.network);
    if (families.size === 0) return;
    let compiled = this.#compiled.get(key);
    if (compiled === undefined) {
      compiled = { id: this.#serviceIds.idOf(key), ports: new Map() };
      this.#compiled.set(key, compiled);
    }
    for (const port of service.ports.keys()) {
      let target = compiled.ports.get(port);
      if (target === undefined) {
        target = { id: this.#servicePorts.add(), range4: undefined, range6: undefined };
        compiled.ports.set(port, target);
      }
      target.range4 = this.#update(view, node, service, port, target, 4, families.has(4));
      target.range6 = this.#update(view, node, service, port, target, 6, families.has(6));
    }
  }

  /** Forgets ports and services that are no longer there; call when no frontend leads to them. */
  dropPorts(view: MeshView, node: LocalitySource, key: string): void {
    const compiled = this.#compiled.get(key);
    if (compiled === undefined) return;
    const service = view.service(key);
    const live =
      service !== undefined && familiesOf(service, node.network).size > 0 ? service.ports : undefined;
    for (const [port, { id, range4, range6 }] of compiled.ports) {
      if (live?.has(port)) continue;
      compiled.ports.delete(port);
      this.garbage.servicePorts.push(id);
      for (const range of [range4, range6]) if (range !== undefined) this.garbage.ranges.push(range);
    }
    if (live !== undefined) return;
    this.#compiled.delete(key);
    this.#serviceIds.release(key);
  }

  #update(
    view: MeshView,
    node: LocalitySource,
    service: Service,
    port: number,
    target: CompiledPort,
    family: 4 | 6,
    wanted: boolean,
  ): SlotRange | undefined {
    const previous = family === 4 ? target.range4 : target.range6;
    const next = wanted ? this.#place(view, node, service, port, family, previous) : undefined;
    if (next === previous) return previous;
    this.#servicePorts.flip(target.id, family, next);
    if (previous !== undefined) this.garbage.ranges.push(previous);
    return next;
  }

  #place(
    view: MeshView,
    node: LocalitySource,
    service: Service,
    port: number,
    family: 4 | 6,
    previous: SlotRange | undefined,
  ): SlotRange | undefined {
    const compiled = compilePort(view, node, service, port, family);
    if (compiled.kind === 'none') return undefined;
    if (compiled.kind === 'tunnel') return TUNNEL_RANGE;
    const { slots } = compiled;
    if (previous !== undefined && this.#endpoints.holds(previous, slots, this.#workloadId)) return previous;
    return this.#endpoints.place(slots, this.#workloadId);
  }
}

/** Families of the addresses under which a service can be dialled on this network. */
function familiesOf(service: Service, network: string): Set<4 | 6> {
  const families = new Set<4 | 6>();
  for (const vip of service.vips) if (vip.network === network) families.add(ipFamily(vip.ip));
  for (const vip of service.cidrVips) if (vip.network === network) families.add(ipFamily(vip.cidr));
  return families;
}
