import type { Locality, PortMap } from '@kmesh/api';

const EMPTY_STRINGS: readonly string[] = [];
const EMPTY_PORTS: PortMap = new Map();
const EMPTY_SERVICES: ReadonlyMap<string, PortMap> = new Map();

/**
 * Shares equal parts of mesh records. Most workloads of a mesh repeat the same namespaces, nodes, localities, port
 * maps and service lists; with one copy of each, 100,000 workloads fit where otherwise a tenth would.
 *
 * Nothing is ever dropped from a pool, so give it only values whose variety is bounded by the mesh's shape: not
 * uids, pod names or IP addresses.
 */
export class ModelPool {
  readonly #strings = new Map<string, string>();
  readonly #localities = new Map<string, Locality>();
  readonly #ports = new Map<string, PortMap>();
  readonly #services = new Map<string, ReadonlyMap<string, PortMap>>();
  readonly #lists = new Map<string, readonly string[]>();

  /** The pool's copy of a text. */
  text(value: string): string {
    if (value === '') return '';
    const known = this.#strings.get(value);
    if (known !== undefined) return known;
    this.#strings.set(value, value);
    return value;
  }

  locality(region: string, zone: string, subzone: string): Locality {
    const key = `${region}\u0000${zone}\u0000${subzone}`;
    let locality = this.#localities.get(key);
    if (locality === undefined) {
      locality = { region: this.text(region), zone: this.text(zone), subzone: this.text(subzone) };
      this.#localities.set(key, locality);
    }
    return locality;
  }

  /** The pool's copy of a port map with these entries. */
  ports(entries: Iterable<readonly [number, number]>): PortMap {
    const map = new Map(entries);
    if (map.size === 0) return EMPTY_PORTS;
    const key = [...map].join(';');
    const known = this.#ports.get(key);
    if (known !== undefined) return known;
    this.#ports.set(key, map);
    return map;
  }

  /** The pool's copy of `Workload.services`; the port maps should come from {@link ModelPool.ports}. */
  services(entries: Iterable<readonly [string, PortMap]>): ReadonlyMap<string, PortMap> {
    const map = new Map<string, PortMap>();
    for (const [key, ports] of entries) map.set(this.text(key), this.ports(ports));
    if (map.size === 0) return EMPTY_SERVICES;
    const key = [...map].map(([service, ports]) => `${service}=${[...ports].join(';')}`).join('\u0000');
    const known = this.#services.get(key);
    if (known !== undefined) return known;
    this.#services.set(key, map);
    return map;
  }

  /** The pool's copy of a list of texts, such as policy keys. */
  list(values: readonly string[]): readonly string[] {
    if (values.length === 0) return EMPTY_STRINGS;
    const key = values.join('\u0000');
    let list = this.#lists.get(key);
    if (list === undefined) {
      list = values.map((value) => this.text(value));
      this.#lists.set(key, list);
    }
    return list;
  }
}
