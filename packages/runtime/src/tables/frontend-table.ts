import { LargeMap, type RefusalReason, type TableUsage } from '@kmesh/api';
import type { Slicer } from '@kmesh/orchestration';
import { RefusalCounter } from './counters.ts';
import type { FrontendEntry, FrontendSlots, FrontendSubject } from './frontend-slots.ts';
import type { ServicePorts } from './service-slots.ts';

/** An entry and its slot. */
interface PlacedEntry extends FrontendEntry {
  readonly slot: number;
}

interface Write {
  readonly entry: PlacedEntry;
  /**
   * The key's previous entry; undefined when it is new. In another slot unless one store changes one into the other.
   */
  readonly previous: PlacedEntry | undefined;
}

/**
 * Changes of one flush by level of reference: address entries lead to port entries, both to the views of namespaces.
 */
class Staged<Item> {
  readonly scoped: Item[] = [];
  readonly ports: Item[] = [];
  readonly addresses: Item[] = [];

  of(entry: FrontendEntry): Item[] {
    if (entry.namespaceId !== 0) return this.scoped;
    return entry.port !== 0 ? this.ports : this.addresses;
  }

  get count(): number {
    return this.scoped.length + this.ports.length + this.addresses.length;
  }
}

const noEntries: readonly PlacedEntry[] = [];

/** The `frontends` table: knows its contents and writes only differences. */
export class FrontendTable {
  readonly #slots: FrontendSlots;
  readonly #servicePorts: ServicePorts;
  readonly #refused = new RefusalCounter();
  /**
   * Most addresses of a large mesh are left to the tunnel path: of these only the slot is kept, without an object that
   * each garbage collection would have to visit.
   */
  readonly #entries = new LargeMap<readonly PlacedEntry[] | number>();
  /** Subjects that got a tunnel entry, or none at all, instead of theirs. */
  readonly #reduced = new Map<string, 'tunnel' | 'absent'>();
  #writes = new Staged<Write>();
  #deletes = new Staged<PlacedEntry>();
  /** Slots hidden from lookups that a running program may still read. */
  #retired: number[] = [];
  #used = 0;

  constructor(slots: FrontendSlots, servicePorts: ServicePorts) {
    this.#slots = slots;
    this.#servicePorts = servicePorts;
  }

  /** Returns the addresses and CIDR services that have entries. */
  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  /** Returns the entries of an address, including staged changes. */
  entriesOf(subject: FrontendSubject): readonly FrontendEntry[] {
    return this.#placedAt(keyOf(subject));
  }

  /** Subjects that did not fit, to be staged again when there is room. */
  get reduced(): Iterable<string> {
    return this.#reduced.keys();
  }

  /** Whether something known to the mesh has no entry, so that unknown addresses may belong to the mesh. */
  get incomplete(): boolean {
    return [...this.#reduced.values()].includes('absent');
  }

  /** Whether a flush has something to write. */
  get dirty(): boolean {
    return this.#writes.count + this.#deletes.count > 0;
  }

  /**
   * Stages `entries` as those of the subject for the next flush. If they do not fit, the subject gets one entry that
   * sends it to the tunnel path, and the refusal is counted.
   */
  stage(subject: FrontendSubject, entries: readonly FrontendEntry[]): void {
    const key = keyOf(subject);
    const previous = this.#placedAt(key);
    const refusal = this.#replace(key, subject, previous, entries);
    if (refusal === undefined) {
      this.#reduced.delete(key);
      return;
    }
    if (!this.#reduced.has(key)) this.#refused.count(refusal);
    const fits = this.#replace(key, subject, previous, [tunnelEntry]) === undefined;
    if (!fits) this.#replace(key, subject, previous, []);
    this.#reduced.set(key, fits ? 'tunnel' : 'absent');
  }

  /**
   * Writes staged changes. At every instant an address has either its old or its new meaning: a view is complete before
   * the entry that leads to it, and removed only after that entry. Await a barrier afterwards, then call {@link
   * FrontendTable.freeRetired}.
   */
  async flush(slicer: Slicer, barrier: () => Promise<void>): Promise<void> {
    const writes = this.#writes;
    const deletes = this.#deletes;
    this.#writes = new Staged();
    this.#deletes = new Staged();
    const moved: PlacedEntry[] = [];
    for (const group of [writes.scoped, writes.ports, writes.addresses]) {
      for (const write of group) {
        this.#write(write, moved);
        if (slicer.due) await slicer.pause();
      }
    }
    if (moved.length > 0) {
      // A program that passed the new slot before it was filled must still find the old one.
      await barrier();
      for (const entry of moved) this.#retire(entry);
    }
    for (const group of [deletes.addresses, deletes.ports, deletes.scoped]) {
      // A program that was just led to a namespace's view must still find it.
      if (group === deletes.scoped && group.length > 0) await barrier();
      for (const entry of group) {
        this.#retire(entry);
        if (slicer.due) await slicer.pause();
      }
    }
  }

  /** Frees the slots of deleted entries. Only after a barrier since the flush. */
  freeRetired(): void {
    for (const slot of this.#retired) this.#slots.free(slot);
    this.#used -= this.#retired.length;
    this.#retired = [];
  }

  usage(): TableUsage {
    return {
      table: 'frontends',
      used: this.#used,
      capacity: this.#slots.capacity,
      refused: this.#refused.counts,
    };
  }

  #write({ entry, previous }: Write, moved: PlacedEntry[]): void {
    const balanced = entry.action === 'balance';
    if (previous?.slot === entry.slot) {
      if (previous.action === 'balance' && !balanced) this.#servicePorts.detach(previous.target, entry.slot);
      this.#slots.decide(entry.slot, entry);
      return;
    }
    if (balanced) this.#servicePorts.attach(entry.target, entry.slot);
    const { range4, range6 } = this.#servicePorts.ranges(balanced ? entry.target : 0);
    this.#slots.publish(entry.slot, entry, range4, range6);
    if (previous !== undefined) moved.push(previous);
  }

  #retire(entry: PlacedEntry): void {
    this.#slots.retire(entry.slot);
    if (entry.action === 'balance') this.#servicePorts.detach(entry.target, entry.slot);
    this.#retired.push(entry.slot);
  }

  /** Replaces entries; if they do not fit, returns the reason and changes nothing. */
  #replace(
    key: string,
    subject: FrontendSubject,
    previous: readonly PlacedEntry[],
    next: readonly FrontendEntry[],
  ): RefusalReason | undefined {
    if (previous.length === 0 && next.length === 0) return undefined;
    if (next.length > previous.length && this.#used + next.length - previous.length > this.#slots.capacity)
      return 'table-full';
    const before =
      previous.length === 0 ? nothingBefore : new Map(previous.map((entry) => [idOf(entry), entry]));
    const placed: PlacedEntry[] = [];
    const changed: Write[] = [];
    const reserved: number[] = [];
    for (const entry of next) {
      const old = before.get(idOf(entry));
      if (old !== undefined) before.delete(idOf(entry));
      if (old !== undefined && sameEntry(old, entry)) {
        placed.push(old);
        continue;
      }
      let slot = old !== undefined && isOneStore(old, entry) ? old.slot : undefined;
      if (slot === undefined) {
        slot = this.#slots.reserve(subject, entry.namespaceId, entry.port);
        if (slot === undefined) {
          for (const unused of reserved) this.#slots.free(unused);
          return 'no-place';
        }
        reserved.push(slot);
      }
      const { namespaceId, port, action, target, service, scoped } = entry;
      const place = { namespaceId, port, action, target, service, scoped, slot };
      placed.push(place);
      changed.push({ entry: place, previous: old });
    }
    this.#used += reserved.length;
    for (const write of changed) this.#writes.of(write.entry).push(write);
    for (const entry of before.values()) this.#deletes.of(entry).push(entry);
    this.#keep(key, placed);
    return undefined;
  }

  #keep(key: string, placed: readonly PlacedEntry[]): void {
    const [first] = placed;
    if (first === undefined) this.#entries.delete(key);
    else if (placed.length === 1 && isTunnelEntry(first)) this.#entries.set(key, first.slot);
    // A copy of the exact length: an array that grew by one entry has capacity for seventeen.
    else this.#entries.set(key, placed.slice());
  }

  #placedAt(key: string): readonly PlacedEntry[] {
    const kept = this.#entries.get(key);
    return typeof kept === 'number' ? [{ ...tunnelEntry, slot: kept }] : (kept ?? noEntries);
  }
}

/** Shared by new addresses, which are many in a first push: none allocates a map. */
const nothingBefore = new Map<number, PlacedEntry>();

const tunnelEntry: FrontendEntry = {
  namespaceId: 0,
  port: 0,
  action: 'tunnel',
  target: 0,
  service: 0,
  scoped: false,
};

/** Returns whether an entry differs from {@link tunnelEntry} at most by its slot. */
function isTunnelEntry(entry: FrontendEntry): boolean {
  return idOf(entry) === idOf(tunnelEntry) && sameEntry(entry, tunnelEntry);
}

/**
 * Returns whether one store of the decision changes one entry into the other. An entry that starts to balance or to ask
 * for verdicts, or changes its target, needs more stores: it gets a new slot.
 */
function isOneStore(from: FrontendEntry, to: FrontendEntry): boolean {
  if (to.action !== 'balance' && to.action !== 'verdict') return true;
  return from.action === to.action && from.target === to.target;
}

/** Returns a key of an entry among those of one subject. */
function idOf(entry: FrontendEntry): number {
  return entry.namespaceId * 65_536 + entry.port;
}

function keyOf(subject: FrontendSubject): string {
  return 'ip' in subject ? subject.ip : `#${subject.serviceId}`;
}

function sameEntry(left: FrontendEntry, right: FrontendEntry): boolean {
  return (
    left.action === right.action &&
    left.target === right.target &&
    left.service === right.service &&
    left.scoped === right.scoped
  );
}
