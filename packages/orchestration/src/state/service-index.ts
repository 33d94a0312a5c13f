import type { Service } from '@kmesh/api';
import { PrefixIndex } from './prefix-index.ts';

const NO_SERVICES: readonly Service[] = [];

/** Services by key, VIP, CIDR VIP and hostname. A service that is sent again keeps its place in every list. */
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

  /** Replaces `previous` by `next`; either may be absent, and both have the key `key`. */
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
