import type { TableUsage } from '@kmesh/api';
import { kmeshVerdictKeyLayout as keyLayout, kmeshVerdict } from './gen/layouts.ts';
import type { EntryTable } from './kernel-maps.ts';
import { RefusalCounter } from './usage.ts';

/** `KMESH_IDENTITY_ANY`: no policy applies, whoever connects. */
export const ANY_IDENTITY = 0;
/** `KMESH_IDENTITY_NONE`: a peer that nobody vouches for. */
export const NO_IDENTITY = 0xffff_ffff;
/** `KMESH_IDENTITY_CHANGING`: the verdicts about a workload are being written anew. */
const CHANGING: Verdict = { identity: 0xffff_fffe, port: 0, allow: false };

/** One entry of `verdicts` about a workload. */
export interface Verdict {
  readonly identity: number;
  /** 0 for the ports that have no entry of their own. */
  readonly port: number;
  readonly allow: boolean;
}

/**
 * The `verdicts` hash. What allows more than it should while other entries are missing is written last and removed
 * first, so at no instant is more allowed than by one of the complete states.
 */
export class VerdictTable {
  readonly #map: EntryTable;
  readonly #entries = new Map<number, Map<string, Verdict>>();
  readonly #refused = new RefusalCounter();
  readonly #withdrawn: () => void;
  /** Workloads about which verdicts are being written. */
  readonly #changing = new Set<number>();
  #used = 0;

  /** @param withdrawn called after less is allowed than before */
  constructor(map: EntryTable, withdrawn: () => void) {
    this.#map = map;
    this.#withdrawn = withdrawn;
  }

  /** Takes every verdict about a workload back: its connections ask the tunnel path. True when there was one. */
  withdraw(workload: number, changing = false): boolean {
    this.#announce(workload, changing);
    const entries = this.#entries.get(workload);
    if (entries === undefined) return false;
    for (const entry of [...entries.values()].sort(broadFirst)) this.#delete(workload, entry);
    this.#entries.delete(workload);
    this.#withdrawn();
    return true;
  }

  /** Makes these the verdicts about a workload. When they do not fit it has none, which is counted. */
  set(workload: number, verdicts: readonly Verdict[]): boolean {
    const wanted = new Map(verdicts.map((verdict) => [keyText(verdict), verdict]));
    const present = this.#entries.get(workload) ?? new Map<string, Verdict>();
    this.#entries.set(workload, present);
    let reduced = false;
    for (const [text, entry] of [...present].sort(([, left], [, right]) => broadFirst(left, right))) {
      if (wanted.get(text)?.allow === entry.allow) continue;
      this.#delete(workload, entry);
      present.delete(text);
      reduced = true;
    }
    for (const verdict of [...wanted.values()].sort((left, right) => broadFirst(right, left))) {
      const text = keyText(verdict);
      if (present.has(text)) continue;
      if (this.#map.updateBatch(encodeKey(workload, verdict), encodeValue(verdict.allow), 1) !== 1) {
        this.#refused.count('table-full');
        this.withdraw(workload);
        return false;
      }
      this.#used++;
      present.set(text, verdict);
      reduced ||= !verdict.allow;
    }
    if (reduced) this.#withdrawn();
    this.#announce(workload, false);
    return true;
  }

  /** Whether the programs let an identity dial a workload's port: `is_allowed` of bpf/verdicts.h. */
  allows(workload: number, identity: number, port: number): boolean {
    const entries = this.#entries.get(workload);
    const at = (of: number, atPort: number) => entries?.get(keyText({ identity: of, port: atPort }));
    if (at(ANY_IDENTITY, 0)?.allow === true) return true;
    return (at(identity, port) ?? at(identity, 0))?.allow === true;
  }

  usage(): TableUsage {
    return {
      table: 'verdicts',
      used: this.#used,
      capacity: this.#map.maxEntries,
      refused: this.#refused.counts,
    };
  }

  #announce(workload: number, changing: boolean): void {
    if (changing === this.#changing.has(workload)) return;
    const key = encodeKey(workload, CHANGING);
    if (changing) {
      if (this.#map.updateBatch(key, encodeValue(false), 1) === 1) this.#changing.add(workload);
    } else {
      this.#map.deleteBatch(key, 1);
      this.#changing.delete(workload);
    }
  }

  #delete(workload: number, verdict: Verdict): void {
    this.#map.deleteBatch(encodeKey(workload, verdict), 1);
    this.#used--;
  }
}

function broadFirst(left: Verdict, right: Verdict): number {
  return breadth(right) - breadth(left);
}

function breadth({ identity, port }: Verdict): number {
  if (identity === ANY_IDENTITY) return 2;
  return port === 0 ? 1 : 0;
}

function keyText({ identity, port }: Pick<Verdict, 'identity' | 'port'>): string {
  return `${identity}:${port}`;
}

function encodeKey(workload: number, { identity, port }: Verdict): Uint8Array {
  const key = new DataView(new ArrayBuffer(keyLayout.size));
  key.setUint32(keyLayout.workload, workload, true);
  key.setUint32(keyLayout.identity, identity, true);
  key.setUint16(keyLayout.portBe, port);
  return new Uint8Array(key.buffer);
}

function encodeValue(allow: boolean): Uint8Array {
  const value = new DataView(new ArrayBuffer(4));
  value.setUint32(0, allow ? kmeshVerdict.allow : kmeshVerdict.ask, true);
  return new Uint8Array(value.buffer);
}
