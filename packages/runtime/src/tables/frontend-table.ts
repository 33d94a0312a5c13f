import type { RefusalReason, TableUsage } from '@kmesh/api';
import type { Slicer } from '@kmesh/orchestration';
import { RefusalCounter } from './counters.ts';
import type { FrontendEntry, FrontendSlots, FrontendSubject } from './frontend-slots.ts';
import type { ServicePorts } from './service-slots.ts';

/** An entry and where it is. */
interface PlacedEntry extends FrontendEntry {
  readonly slot: number;
}

interface Write {
  readonly entry: PlacedEntry;
  /** What the key was before; undefined when it is new. In another slot unless one store makes the one the other. */
  readonly previous: PlacedEntry | undefined;
}

/** What one flush writes, by what leads to what: an address entry to port entries, both to the views of namespaces. */
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

/** The `frontends` table: knows what is in it, and writes only what differs. */
export class FrontendTable {
  readonly #slots: FrontendSlots;
  readonly #servicePorts: ServicePorts;
  readonly #refused = new RefusalCounter();
  readonly #entries = new Map<string, readonly PlacedEntry[]>();
  /** Subjects that got a tunnel entry, or none at all, in place of their own. */
  readonly #reduced = new Map<string, 'tunnel' | 'absent'>();
  #writes = new Staged<Write>();
  #deletes = new Staged<PlacedEntry>();
  /** Slots that nothing finds any more but a running program may still read. */
  #retired: number[] = [];
  #used = 0;

  constructor(slots: FrontendSlots, servicePorts: ServicePorts) {
    this.#slots = slots;
    this.#servicePorts = servicePorts;
  }

  /** Addresses and CIDR services that have entries. */
  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  /** Entries of an address, as they are or will be after the next flush. */
  entriesOf(subject: FrontendSubject): readonly FrontendEntry[] {
    return this.#entries.get(keyOf(subject)) ?? noEntries;
  }

  /** Subjects that did not fit, to be staged again when there is room. */
  get reduced(): Iterable<string> {
    return this.#reduced.keys();
  }

  /** Something known to the mesh has no entry at all: unknown addresses may be the mesh's. */
  get incomplete(): boolean {
    return [...this.#reduced.values()].includes('absent');
  }

  /** Whether a flush has something to write. */
  get dirty(): boolean {
    return this.#writes.count + this.#deletes.count > 0;
  }

  /**
   * Makes `entries` those of the subject at the next flush. When they do not fit the subject gets one entry that sends it
   * to the tunnel path, and the refusal is counted.
   */
  stage(subject: FrontendSubject, entries: readonly FrontendEntry[]): void {
    const key = keyOf(subject);
    const previous = this.#entries.get(key) ?? noEntries;
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
   * Writes what was staged. At every instant an address means either what it meant before or what it means after: a view
   * is complete before the entry that leads to it, and gone only after that entry. Wait for a barrier afterwards, then call
   * {@link FrontendTable.freeRetired}.
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
      // A program that had passed the new place before it was filled must still find the old one.
      await barrier();
      for (const entry of moved) this.#retire(entry);
    }
    for (const group of [deletes.addresses, deletes.ports, deletes.scoped]) {
      // A program that has just been led to a namespace's own view must still find it.
      if (group === deletes.scoped && group.length > 0) await barrier();
      for (const entry of group) {
        this.#retire(entry);
        if (slicer.due) await slicer.pause();
      }
    }
  }

  /** Makes room of what was deleted. Only after a barrier since the flush. */
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

  /** Returns the reason, and changes nothing, when the entries do not fit. */
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
    if (placed.length === 0) this.#entries.delete(key);
    // A copy of the exact length: an array that grew by one entry has room for seventeen.
    else this.#entries.set(key, placed.slice());
    return undefined;
  }
}

/** Of the addresses of a first push, which are many: none needs a map of its own. */
const nothingBefore = new Map<number, PlacedEntry>();

const tunnelEntry: FrontendEntry = {
  namespaceId: 0,
  port: 0,
  action: 'tunnel',
  target: 0,
  service: 0,
  scoped: false,
};

/**
 * Whether one store of the decision makes the one entry the other. An entry that begins to balance or to ask for verdicts, or
 * does so for another target, needs more of it changed: it gets a slot of its own.
 */
function isOneStore(from: FrontendEntry, to: FrontendEntry): boolean {
  if (to.action !== 'balance' && to.action !== 'verdict') return true;
  return from.action === to.action && from.target === to.target;
}

/** Identifies an entry among those of one subject. */
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
