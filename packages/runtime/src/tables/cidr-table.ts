import type { Service, TableUsage } from '@kmesh/api';
import type { LocalitySource, MeshView } from '@kmesh/orchestration';
import { GENERIC_NAMESPACE, ipFamily, maskIp, parseCidr, parseIp } from '@kmesh/orchestration';
import { writeAddress } from './address-bytes.ts';
import { type AddressMeaning, type FrontendIds, meaningOfCidr, outcomeOf } from './address-entries.ts';
import { RefusalCounter } from './counters.ts';
import { encodeDecision, type FrontendEntry } from './frontend-slots.ts';
import type { FrontendTable } from './frontend-table.ts';
import { kmeshCidrKeyLayout as keyLayout, kmeshDecisionLayout } from './gen/layouts.ts';
import type { EntryTable } from './kernel-object.ts';

/** client_namespace of the keys of the ports of CIDR services. */
const NAMESPACE_SERVICE = 0xffff_ffff;
/** A CIDR key's prefix starts with the 32 bits of the client namespace. */
const NAMESPACE_BITS = 32;

interface CidrEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly cidr: string;
  readonly namespaceId: number;
  readonly decision: Pick<FrontendEntry, 'action' | 'target' | 'service'>;
  /** Whether the ports of the service are in `frontends`, under its id. */
  readonly hasPorts: boolean;
}

/** The `cidr_frontends` table, compiled as a whole: meshes have few CIDR VIPs. */
export class CidrTable {
  readonly #table: EntryTable;
  readonly #refused = new RefusalCounter();
  readonly #services = new Map<string, number>();
  #entries = new Map<string, CidrEntry>();
  #overflowing = false;

  constructor(table: EntryTable) {
    this.#table = table;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Whether a CIDR VIP did not fit, so that unknown addresses may belong to the mesh. */
  get incomplete(): boolean {
    return this.#overflowing;
  }

  /** Returns whether a change of this service may change the table. */
  concerns(key: string, service: Service | undefined): boolean {
    return this.#services.has(key) || (service?.cidrVips.length ?? 0) > 0;
  }

  /** Includes a service's CIDR VIPs in the next {@link CidrTable.rebuild}. */
  note(key: string, service: Service | undefined, ids: FrontendIds): void {
    if (service !== undefined && service.cidrVips.length > 0) this.#services.set(key, ids.serviceId(service));
  }

  /**
   * Stages the port entries of all CIDR services before the prefixes that lead to them. The returned function writes
   * the prefixes; call it after the frontends are flushed. It returns whether something changed.
   */
  rebuild(view: MeshView, node: LocalitySource, ids: FrontendIds, frontends: FrontendTable): () => boolean {
    const desired = new Map<string, CidrEntry>();
    for (const [key, serviceId] of this.#services) {
      const service = view.service(key);
      if (service === undefined || service.cidrVips.length === 0) {
        this.#services.delete(key);
        frontends.stage({ serviceId }, []);
        continue;
      }
      frontends.stage({ serviceId }, portEntries(service, ids));
      for (const vip of service.cidrVips) {
        if (vip.network !== node.network) continue;
        this.#compile(view, node, ids, vip.cidr, GENERIC_NAMESPACE, 0, desired);
        this.#compile(
          view,
          node,
          ids,
          vip.cidr,
          service.namespace,
          ids.namespaceId(service.namespace),
          desired,
        );
      }
    }
    return () => this.#write(desired);
  }

  /** Returns the longest prefix of an address, of the client's namespace first: `find_by_cidr` of bpf/connect.bpf.c. */
  find(ip: string, namespaceId: number | undefined): Pick<CidrEntry, 'decision' | 'hasPorts'> | undefined {
    const address = parseIp(ip);
    if (address === undefined) return undefined;
    let found: { readonly entry: CidrEntry; readonly rank: number } | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.namespaceId !== 0 && entry.namespaceId !== namespaceId) continue;
      const parsed = parseCidr(entry.cidr);
      if (parsed === undefined || parsed.network.family !== ipFamily(ip)) continue;
      const { a, b, c, d } = maskIp(address, parsed.length);
      const { network } = parsed;
      if (a !== network.a || b !== network.b || c !== network.c || d !== network.d) continue;
      const rank = (entry.namespaceId === 0 ? 0 : 256) + parsed.length;
      if (found === undefined || rank > found.rank) found = { entry, rank };
    }
    return found?.entry;
  }

  usage(): TableUsage {
    return {
      table: 'cidr_frontends',
      used: this.#entries.size,
      capacity: this.#table.maxEntries,
      refused: this.#refused.counts,
    };
  }

  #compile(
    view: MeshView,
    node: LocalitySource,
    ids: FrontendIds,
    cidr: string,
    namespace: string,
    namespaceId: number,
    desired: Map<string, CidrEntry>,
  ): void {
    const name = `${namespaceId} ${cidr}`;
    if (desired.has(name)) return;
    const parsed = parseCidr(cidr);
    const [ip = ''] = cidr.split('/');
    if (parsed === undefined) return;
    const meaning = meaningOfCidr(view, node, ip, parsed.length, namespace, namespaceId !== 0);
    if (meaning === undefined) return;
    const key = new DataView(new ArrayBuffer(keyLayout.size));
    const familyBits = parsed.network.family === 4 ? 96 : 0;
    key.setUint32(keyLayout.prefixLength, NAMESPACE_BITS + familyBits + parsed.length, true);
    key.setUint32(keyLayout.clientNamespace, namespaceId, true);
    writeAddress(key, keyLayout.address, ip);
    const value = new DataView(new ArrayBuffer(kmeshDecisionLayout.size));
    encodeDecision(value, 0, { ...outcomeOf(meaning, 0, ids), scoped: false }, isBalanced(meaning));
    desired.set(name, {
      key: new Uint8Array(key.buffer),
      value: new Uint8Array(value.buffer),
      ...{ cidr, namespaceId, decision: outcomeOf(meaning, 0, ids), hasPorts: isBalanced(meaning) },
    });
  }

  #write(desired: Map<string, CidrEntry>): boolean {
    let changed = false;
    for (const [name, { key }] of this.#entries) {
      if (desired.has(name)) continue;
      this.#table.deleteBatch(key, 1);
      this.#entries.delete(name);
      changed = true;
    }
    this.#overflowing = false;
    for (const [name, entry] of desired) {
      const previous = this.#entries.get(name);
      if (previous !== undefined && Buffer.compare(previous.value, entry.value) === 0) continue;
      if (previous === undefined && this.#entries.size >= this.#table.maxEntries) {
        this.#refused.count('table-full');
        this.#overflowing = true;
        continue;
      }
      this.#table.updateBatch(entry.key, entry.value, 1);
      this.#entries.set(name, entry);
      changed = true;
    }
    return changed;
  }
}

function isBalanced(meaning: AddressMeaning): boolean {
  return meaning.kind === 'service';
}

function portEntries(service: Service, ids: FrontendIds): FrontendEntry[] {
  const meaning: AddressMeaning = { kind: 'service', service, scope: GENERIC_NAMESPACE };
  return [...service.ports.keys()].map((port) => ({
    ...outcomeOf(meaning, port, ids),
    namespaceId: NAMESPACE_SERVICE,
    port,
    scoped: false,
  }));
}
