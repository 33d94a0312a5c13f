import type { Endpoint, HealthPolicy, Service } from '@kmesh/api';
import { maskIp, type ParsedIp, parseCidr, parseIp } from './ip.ts';

const NO_SERVICES: readonly Service[] = [];

/** Services by key, VIP, CIDR VIP and hostname. An updated service keeps its position in every list. */
export class ServiceIndex {
  readonly #byKey = new Map<string, Service>();
  readonly #byVip = new Map<string, Map<string, Service[]>>();
  readonly #byHostname = new Map<string, Service[]>();
  readonly #byCidr = new PrefixIndex<Service>();

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): Service | undefined {
    return this.#byKey.get(key);
  }

  values(): IterableIterator<Service> {
    return this.#byKey.values();
  }

  byVip(network: string, ip: string): readonly Service[] {
    return this.#byVip.get(network)?.get(ip) ?? NO_SERVICES;
  }

  byHostname(hostname: string): readonly Service[] {
    return this.#byHostname.get(hostname) ?? NO_SERVICES;
  }

  byCidr(network: string, ip: string): { readonly service: Service; readonly prefixLength: number }[] {
    return this.#byCidr
      .find(network, ip)
      .map(({ value, prefixLength }) => ({ service: value, prefixLength }));
  }

  /** Replaces `previous` by `next`, both with key `key`; either may be absent. */
  update(key: string, previous: Service | undefined, next: Service | undefined): void {
    if (next === undefined) this.#byKey.delete(key);
    else this.#byKey.set(key, next);

    for (const { network, ip } of previous?.vips ?? []) {
      if (!next?.vips.some((vip) => vip.network === network && vip.ip === ip)) {
        removeFrom(this.#byVip.get(network), ip, previous);
        if (this.#byVip.get(network)?.size === 0) this.#byVip.delete(network);
      }
    }
    for (const { network, ip } of next?.vips ?? []) {
      let addresses = this.#byVip.get(network);
      if (addresses === undefined) {
        addresses = new Map();
        this.#byVip.set(network, addresses);
      }
      putInto(addresses, ip, previous, next);
    }

    for (const { network, cidr } of previous?.cidrVips ?? []) {
      const kept = next?.cidrVips.some((vip) => vip.network === network && vip.cidr === cidr);
      if (previous !== undefined && !kept) this.#byCidr.remove(network, cidr, previous);
    }
    for (const { network, cidr } of next?.cidrVips ?? []) {
      if (next !== undefined) this.#byCidr.put(network, cidr, next, previous);
    }

    if (previous !== undefined && previous.hostname !== next?.hostname) {
      removeFrom(this.#byHostname, previous.hostname, previous);
    }
    if (next !== undefined) putInto(this.#byHostname, next.hostname, previous, next);
  }
}

function putInto(
  lists: Map<string, Service[]>,
  key: string,
  previous: Service | undefined,
  next: Service | undefined,
): void {
  if (next === undefined) return;
  const list = lists.get(key);
  if (list === undefined) {
    lists.set(key, [next]);
    return;
  }
  const position = previous === undefined ? -1 : list.indexOf(previous);
  if (position >= 0) list[position] = next;
  else if (!list.includes(next)) list.push(next);
}

function removeFrom(
  lists: Map<string, Service[]> | undefined,
  key: string,
  service: Service | undefined,
): void {
  const list = lists?.get(key);
  if (lists === undefined || list === undefined || service === undefined) return;
  const position = list.indexOf(service);
  if (position >= 0) list.splice(position, 1);
  if (list.length === 0) lists.delete(key);
}

interface PrefixTable<Value> {
  /** Prefix length → masked address → values in order of arrival. */
  readonly byLength: Map<number, Map<string, Value[]>>;
  /** Lengths in use, longest first: a lookup costs one probe per length, regardless of the number of prefixes. */
  lengths: number[];
}

/** One match of {@link PrefixIndex.find}. */
interface PrefixMatch<Value> {
  readonly value: Value;
  readonly prefixLength: number;
}

/** Values by network and CIDR, found by address, longest prefix first (docs/contract.md 7.1). */
class PrefixIndex<Value> {
  readonly #tables = new Map<string, PrefixTable<Value>>();

  /** Adds `value`, or replaces `previous` in place if present. */
  put(network: string, cidr: string, value: Value, previous?: Value): void {
    const parsed = parseCidr(cidr);
    if (parsed === undefined) return;
    const tableKey = `${parsed.network.family}/${network}`;
    let table = this.#tables.get(tableKey);
    if (table === undefined) {
      table = { byLength: new Map(), lengths: [] };
      this.#tables.set(tableKey, table);
    }
    let entries = table.byLength.get(parsed.length);
    if (entries === undefined) {
      entries = new Map();
      table.byLength.set(parsed.length, entries);
      table.lengths = [...table.byLength.keys()].sort((left, right) => right - left);
    }
    const key = wordsKey(parsed.network);
    const values = entries.get(key);
    if (values === undefined) {
      entries.set(key, [value]);
      return;
    }
    const position = previous === undefined ? -1 : values.indexOf(previous);
    if (position >= 0) values[position] = value;
    else if (!values.includes(value)) values.push(value);
  }

  remove(network: string, cidr: string, value: Value): void {
    const parsed = parseCidr(cidr);
    if (parsed === undefined) return;
    const tableKey = `${parsed.network.family}/${network}`;
    const table = this.#tables.get(tableKey);
    const entries = table?.byLength.get(parsed.length);
    const key = wordsKey(parsed.network);
    const values = entries?.get(key);
    if (table === undefined || entries === undefined || values === undefined) return;
    const position = values.indexOf(value);
    if (position >= 0) values.splice(position, 1);
    if (values.length > 0) return;
    entries.delete(key);
    if (entries.size > 0) return;
    table.byLength.delete(parsed.length);
    table.lengths = table.lengths.filter((length) => length !== parsed.length);
    if (table.byLength.size === 0) this.#tables.delete(tableKey);
  }

  /** Returns every value whose CIDR contains the address, longest prefix first. */
  find(network: string, ip: string): PrefixMatch<Value>[] {
    const matches: PrefixMatch<Value>[] = [];
    if (this.#tables.size === 0) return matches;
    const table = this.#tables.get(`${ip.includes(':') ? 6 : 4}/${network}`);
    if (table === undefined) return matches;
    const parsed = parseIp(ip);
    if (parsed === undefined) return matches;
    for (const prefixLength of table.lengths) {
      const values = table.byLength.get(prefixLength)?.get(wordsKey(maskIp(parsed, prefixLength)));
      for (const value of values ?? []) matches.push({ value, prefixLength });
    }
    return matches;
  }
}

function wordsKey(ip: ParsedIp): string {
  return ip.family === 4 ? String(ip.a) : `${ip.a},${ip.b},${ip.c},${ip.d}`;
}

interface EndpointSet {
  /** Endpoints that traffic may use; while the service is unknown, the staged ones. */
  readonly live: Map<string, Endpoint>;
  /** Endpoints that the health policy withholds; allocated on first use. */
  withheld: Map<string, Endpoint> | undefined;
  /** `undefined` while the service is unknown and its endpoints are staged. */
  healthPolicy: HealthPolicy | undefined;
  /** Incremented once per batch that touched this set. */
  generation: number;
}

const NO_ENDPOINTS: ReadonlyMap<string, Endpoint> = new Map();

/**
 * Endpoints by service, filtered by health, and the staging area for services that have not arrived
 * (docs/contract.md 3.7).
 *
 * One deliberate difference from the behaviour in the contract: unhealthy endpoints are withheld, not dropped, so a
 * service that changes to AllowAll uses them at once.
 */
export class ServiceEndpoints {
  readonly #sets = new Map<string, EndpointSet>();

  /** Returns the endpoints that traffic may use; empty for an unknown service. */
  live(serviceKey: string): ReadonlyMap<string, Endpoint> {
    const set = this.#sets.get(serviceKey);
    return set?.healthPolicy === undefined ? NO_ENDPOINTS : set.live;
  }

  generation(serviceKey: string): number {
    return this.#sets.get(serviceKey)?.generation ?? 0;
  }

  /** Returns the endpoints of unknown services, by service key. */
  staged(): Map<string, ReadonlyMap<string, Endpoint>> {
    const staged = new Map<string, ReadonlyMap<string, Endpoint>>();
    for (const [key, set] of this.#sets) {
      if (set.healthPolicy === undefined) staged.set(key, set.live);
    }
    return staged;
  }

  put(serviceKey: string, endpoint: Endpoint): void {
    const set = this.#setOf(serviceKey);
    if (usable(set, endpoint)) {
      set.live.set(endpoint.workloadUid, endpoint);
      set.withheld?.delete(endpoint.workloadUid);
    } else {
      set.live.delete(endpoint.workloadUid);
      set.withheld ??= new Map();
      set.withheld.set(endpoint.workloadUid, endpoint);
    }
  }

  remove(serviceKey: string, workloadUid: string): void {
    const set = this.#sets.get(serviceKey);
    if (set === undefined) return;
    set.live.delete(workloadUid);
    set.withheld?.delete(workloadUid);
    if (set.healthPolicy === undefined && set.live.size === 0) this.#sets.delete(serviceKey);
  }

  /** Applies the health policy of a new or updated service to its endpoints, staged ones included. */
  serviceArrived(serviceKey: string, healthPolicy: HealthPolicy): void {
    const set = this.#setOf(serviceKey);
    if (set.healthPolicy === healthPolicy) return;
    set.healthPolicy = healthPolicy;
    const held = set.withheld;
    set.withheld = undefined;
    for (const [uid, endpoint] of set.live) {
      if (usable(set, endpoint)) continue;
      set.live.delete(uid);
      set.withheld ??= new Map();
      set.withheld.set(uid, endpoint);
    }
    for (const endpoint of held?.values() ?? []) this.put(serviceKey, endpoint);
  }

  /** Drops a service and its endpoints; only a new update of a workload brings an endpoint back. */
  serviceRemoved(serviceKey: string): void {
    this.#sets.delete(serviceKey);
  }

  /** Ends one batch: increments the generation of these services, so that derived data is recomputed. */
  touch(serviceKeys: Iterable<string>): void {
    for (const key of serviceKeys) {
      const set = this.#sets.get(key);
      if (set !== undefined) set.generation++;
    }
  }

  #setOf(serviceKey: string): EndpointSet {
    let set = this.#sets.get(serviceKey);
    if (set === undefined) {
      set = { live: new Map(), withheld: undefined, healthPolicy: undefined, generation: 0 };
      this.#sets.set(serviceKey, set);
    }
    return set;
  }
}

function usable(set: EndpointSet, endpoint: Endpoint): boolean {
  return endpoint.status === 'Healthy' || set.healthPolicy !== 'OnlyHealthy';
}
