import type { Slicer } from '../state/slicer.ts';
import {
  encodeFrontend,
  encodeFrontendKey,
  type FrontendEntry,
  type FrontendSubject,
} from './frontend-entry.ts';
import { kmeshFrontendKeyLayout, kmeshFrontendLayout } from './gen/layouts.ts';
import type { EntryTable } from './kernel-maps.ts';
import { PackedEntries } from './packed-entries.ts';
import { RefusalCounter, type TableUsage } from './usage.ts';

/** Entries per system call: half a millisecond. */
const BATCH = 2048;

/**
 * Order of the writes of one flush. At every instant between two of them an address means either what it meant before
 * or what it means after: a view is complete before the entry that leads to it, and gone only after that entry.
 */
const phases = [
  'setScoped',
  'setPorts',
  'setAddress',
  'deleteAddress',
  'deletePorts',
  'deleteScoped',
] as const;
type Phase = (typeof phases)[number];

/** The `frontends` table: knows what is in it, and writes only what differs. */
export class FrontendTable {
  readonly #table: EntryTable;
  readonly #refused = new RefusalCounter();
  readonly #entries = new Map<string, readonly FrontendEntry[]>();
  /** Subjects that got a tunnel entry, or none at all, in place of their own. */
  readonly #reduced = new Map<string, 'tunnel' | 'absent'>();
  readonly #staged: Record<Phase, PackedEntries>;
  #used = 0;
  #freed = 0;

  constructor(table: EntryTable) {
    this.#table = table;
    const packed = () => new PackedEntries(kmeshFrontendKeyLayout.size, kmeshFrontendLayout.size);
    this.#staged = {
      setScoped: packed(),
      setPorts: packed(),
      setAddress: packed(),
      deleteAddress: packed(),
      deletePorts: packed(),
      deleteScoped: packed(),
    };
  }

  /** Addresses and CIDR services that have entries. */
  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  /** Entries of an address, as they are or will be after the next flush. */
  entriesOf(subject: FrontendSubject): readonly FrontendEntry[] {
    return this.#entries.get(keyOf(subject)) ?? [];
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
    return phases.some((phase) => this.#staged[phase].count > 0);
  }

  /**
   * Makes `entries` those of the subject at the next flush. When they do not fit the subject gets one entry that sends it
   * to the tunnel path, and the refusal is counted.
   */
  stage(subject: FrontendSubject, entries: readonly FrontendEntry[]): void {
    const key = keyOf(subject);
    const previous = this.#entries.get(key) ?? [];
    const added = entries.length - previous.length;
    if (added <= 0 || this.#used + added <= this.#table.maxEntries) {
      this.#reduced.delete(key);
      this.#replace(key, subject, previous, entries);
      return;
    }
    if (!this.#reduced.has(key)) this.#refused.count('table-full');
    const fits = previous.length > 0 || this.#used < this.#table.maxEntries;
    this.#reduced.set(key, fits ? 'tunnel' : 'absent');
    const tunnel = {
      namespaceId: 0,
      port: 0,
      action: 'tunnel',
      target: 0,
      service: 0,
      scoped: false,
    } as const;
    this.#replace(key, subject, previous, fits ? [tunnel] : []);
  }

  /** Writes what was staged. */
  async flush(slicer: Slicer): Promise<void> {
    for (const phase of phases) {
      const staged = this.#staged[phase];
      for (let from = 0; from < staged.count; from += BATCH) {
        const count = Math.min(BATCH, staged.count - from);
        const { keys, values } = staged.slice(from, count);
        if (phase.startsWith('set')) this.#write(keys, values, count);
        else this.#table.deleteBatch(keys, count);
        if (slicer.due) await slicer.pause();
      }
      staged.clear();
    }
    this.#used -= this.#freed;
    this.#freed = 0;
  }

  usage(): TableUsage {
    return {
      table: 'frontends',
      used: this.#used,
      capacity: this.#table.maxEntries,
      refused: this.#refused.counts,
    };
  }

  #write(keys: Uint8Array, values: Uint8Array, count: number): void {
    const written = this.#table.updateBatch(keys, values, count);
    // The count kept here says that they fit. Should the kernel see it otherwise, nothing may look complete.
    for (let missing = written; missing < count; missing++) {
      this.#refused.count('table-full');
      this.#reduced.set(`write ${missing}`, 'absent');
    }
  }

  #replace(
    key: string,
    subject: FrontendSubject,
    previous: readonly FrontendEntry[],
    next: readonly FrontendEntry[],
  ): void {
    if (previous.length === 0 && next.length === 0) return;
    if (next.length === 0) this.#entries.delete(key);
    else this.#entries.set(key, next);
    if (previous.length === 0) {
      this.#used += next.length;
      for (const entry of next) this.#stage('set', subject, entry);
      return;
    }
    const before = new Map(previous.map((entry) => [entry.namespaceId * 65_536 + entry.port, entry]));
    for (const entry of next) {
      const place = entry.namespaceId * 65_536 + entry.port;
      const old = before.get(place);
      before.delete(place);
      if (old === undefined) this.#used++;
      else if (sameEntry(old, entry)) continue;
      this.#stage('set', subject, entry);
    }
    for (const entry of before.values()) {
      this.#freed++;
      this.#stage('delete', subject, entry);
    }
  }

  #stage(operation: 'set' | 'delete', subject: FrontendSubject, entry: FrontendEntry): void {
    const part = entry.namespaceId !== 0 ? 'Scoped' : entry.port !== 0 ? 'Ports' : 'Address';
    this.#staged[`${operation}${part}`].push((keys, keyOffset, values, valueOffset) => {
      encodeFrontendKey(keys, keyOffset, subject, entry.namespaceId, entry.port);
      encodeFrontend(values, valueOffset, entry);
    });
  }
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
