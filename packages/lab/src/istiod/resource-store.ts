import { createHash } from 'node:crypto';
import { type MeshUpdate, type Service, type Workload, xds } from '@kmesh/api';
import { policyPayload, routePayload, servicePayload, workloadPayload } from './encode.ts';

/** One xDS resource in wire form. */
export interface StoredResource {
  readonly name: string;
  /** Content hash; empty for policies, as istiod leaves it. */
  readonly version: string;
  /** `undefined`: a resource without payload, which a client must reject. */
  readonly payload: Buffer | undefined;
  /** `network/ip` names under which on-demand clients may ask for it. */
  readonly aliases: readonly string[];
  /** The node of a workload. */
  readonly node: string | undefined;
  /** Keys of the services that a workload is an endpoint of. */
  readonly services: readonly string[];
}

/** Names that an update added, changed or removed, by type URL. */
export type StoreChange = ReadonlyMap<string, ReadonlySet<string>>;

function contentHash(payload: Buffer): string {
  return createHash('sha256').update(payload).digest('hex').slice(0, 16);
}

function workloadResource(workload: Workload): StoredResource {
  const payload = workloadPayload(workload);
  return {
    name: workload.uid,
    version: contentHash(payload),
    payload,
    aliases: workload.addresses.map((ip) => `${workload.network}/${ip}`),
    node: workload.node,
    services: [...workload.services.keys()],
  };
}

function serviceResource(service: Service): StoredResource {
  const payload = servicePayload(service);
  return {
    name: `${service.namespace}/${service.hostname}`,
    version: contentHash(payload),
    payload,
    aliases: service.vips.map((vip) => `${vip.network}/${vip.ip}`),
    node: undefined,
    services: [],
  };
}

/** Resources of the fake control plane, encoded and versioned, by type and name. */
export class ResourceStore {
  readonly #byType = new Map<string, Map<string, StoredResource>>([
    [xds.addressTypeUrl, new Map()],
    [xds.authorizationTypeUrl, new Map()],
    [xds.virtualServiceTypeUrl, new Map()],
  ]);
  /** Type URL and alias → names. */
  readonly #byAlias = new Map<string, Set<string>>();

  resources(typeUrl: string): ReadonlyMap<string, StoredResource> {
    return this.#byType.get(typeUrl) ?? new Map<string, StoredResource>();
  }

  /** Returns the resources with this name or alias. */
  find(typeUrl: string, name: string): StoredResource[] {
    const resources = this.resources(typeUrl);
    const direct = resources.get(name);
    if (direct !== undefined) return [direct];
    const names = this.#byAlias.get(`${typeUrl} ${name}`) ?? [];
    return [...names].flatMap((target) => resources.get(target) ?? []);
  }

  /** Applies model updates. Names whose content stayed the same are not part of the change. */
  apply(updates: readonly MeshUpdate[]): StoreChange {
    const change = new Map<string, Set<string>>();
    const touch = (typeUrl: string, name: string): void => {
      const names = change.get(typeUrl) ?? new Set();
      change.set(typeUrl, names.add(name));
    };
    const put = (typeUrl: string, resource: StoredResource): void => {
      if (this.put(typeUrl, resource)) touch(typeUrl, resource.name);
    };
    const remove = (typeUrl: string, name: string): void => {
      if (this.remove(typeUrl, name)) touch(typeUrl, name);
    };
    for (const update of updates) {
      switch (update.kind) {
        case 'workload':
          put(xds.addressTypeUrl, workloadResource(update.workload));
          break;
        case 'service':
          put(xds.addressTypeUrl, serviceResource(update.service));
          break;
        case 'policy':
          put(xds.authorizationTypeUrl, {
            name: `${update.policy.namespace}/${update.policy.name}`,
            version: '',
            payload: policyPayload(update.policy),
            aliases: [],
            node: undefined,
            services: [],
          });
          break;
        case 'removeWorkload':
          remove(xds.addressTypeUrl, update.uid);
          break;
        case 'removeService':
          remove(xds.addressTypeUrl, update.key);
          break;
        case 'removePolicy':
          remove(xds.authorizationTypeUrl, update.key);
          break;
        case 'route':
          put(xds.virtualServiceTypeUrl, {
            name: `${update.route.namespace}/${update.route.name}`,
            version: '',
            payload: routePayload(update.route),
            aliases: [],
            node: undefined,
            services: [],
          });
          break;
        case 'removeRoute':
          remove(xds.virtualServiceTypeUrl, update.key);
          break;
      }
    }
    return change;
  }

  /** Adds or replaces a resource. Returns whether it changed anything. */
  put(typeUrl: string, resource: StoredResource): boolean {
    const resources = this.#byType.get(typeUrl) ?? new Map<string, StoredResource>();
    this.#byType.set(typeUrl, resources);
    const before = resources.get(resource.name);
    this.#unalias(typeUrl, before);
    resources.set(resource.name, resource);
    for (const alias of resource.aliases) {
      const key = `${typeUrl} ${alias}`;
      this.#byAlias.set(key, (this.#byAlias.get(key) ?? new Set()).add(resource.name));
    }
    if (before?.payload === undefined || resource.payload === undefined) return before !== resource;
    return !before.payload.equals(resource.payload) || before.version !== resource.version;
  }

  /** Removes a resource. Returns whether it existed. */
  remove(typeUrl: string, name: string): boolean {
    const resources = this.#byType.get(typeUrl);
    this.#unalias(typeUrl, resources?.get(name));
    return resources?.delete(name) ?? false;
  }

  #unalias(typeUrl: string, resource: StoredResource | undefined): void {
    for (const alias of resource?.aliases ?? [])
      this.#byAlias.get(`${typeUrl} ${alias}`)?.delete(resource?.name ?? '');
  }
}
