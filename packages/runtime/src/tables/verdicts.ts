import type { Identity, Policy, TableUsage, Workload } from '@kmesh/api';
import {
  certainlyAllowed,
  enforcedPolicies,
  formatPrincipal,
  type MeshView,
  portsOfPolicies,
} from '@kmesh/orchestration';
import { RefusalCounter } from './counters.ts';
import { kmeshVerdictKeyLayout as keyLayout, kmeshVerdict } from './gen/layouts.ts';
import { Identifiers } from './identifiers.ts';
import type { EntryTable } from './kernel-object.ts';

/** More verdicts than this about one workload are not worth their memory: its connections ask. */
const MAX_VERDICTS_OF_WORKLOAD = 16_384;

interface Member {
  readonly workload: Workload;
  readonly workloadId: number;
  /** Its own identity is certain: peers with one may connect to it in the kernel. */
  readonly certain: boolean;
  /** What its verdicts were computed from; undefined while there are none. */
  policies: readonly Policy[] | undefined;
}

/** Keeps the verdicts about the enrolled pods of this node equal to the policies. */
export class Verdicts {
  readonly #view: MeshView;
  readonly #table: VerdictTable;
  readonly #members = new Map<bigint, Member>();
  readonly #identities: Identifiers;
  /** By id, for as long as the daemon runs: events name identities whose pods have left. */
  readonly #byId = new Map<number, Identity>();
  readonly #known = new Map<number, { readonly identity: Identity; pods: number }>();

  /** @param firstId of an identity; see `KernelTables` */
  constructor(view: MeshView, table: VerdictTable, firstId?: number) {
    this.#identities = new Identifiers(firstId);
    this.#view = view;
    this.#table = table;
  }

  /** Id of the identity of a workload, for its pod's entry. */
  identityId(workload: Workload): number {
    const id = this.#identities.idOf(formatPrincipal(workload));
    if (!this.#byId.has(id)) this.#byId.set(id, workload);
    return id;
  }

  /** The identity behind an id, also when its last pod has left. */
  identity(id: number): Identity | undefined {
    return this.#byId.get(id);
  }

  /** A pod is enrolled: it may connect, and be connected to. */
  add(cookie: bigint, workload: Workload, workloadId: number, certain = true): void {
    const previous = this.#members.get(cookie);
    if (previous?.workload === workload && previous.workloadId === workloadId && previous.certain === certain)
      return;
    const again = previous?.workloadId === workloadId;
    if (again) this.#table.withdraw(workloadId, true);
    this.#forget(cookie, !again);
    const member: Member = { workload, workloadId, certain, policies: undefined };
    this.#members.set(cookie, member);
    const id = this.identityId(workload);
    const known = this.#known.get(id);
    if (known === undefined) {
      this.#known.set(id, { identity: workload, pods: 1 });
      for (const other of this.#members.values()) if (other.policies?.length) this.#compute(other);
    } else {
      known.pods++;
    }
    this.#compute(member);
  }

  remove(cookie: bigint): void {
    this.#forget(cookie, true);
  }

  #forget(cookie: bigint, withdraws: boolean): void {
    const member = this.#members.get(cookie);
    if (member === undefined) return;
    this.#members.delete(cookie);
    if (withdraws) this.#table.withdraw(member.workloadId);
    const id = this.identityId(member.workload);
    const known = this.#known.get(id);
    if (known !== undefined && --known.pods === 0) this.#known.delete(id);
  }

  /**
   * Withdraws verdicts derived from changed policies; returns the cookies of the affected pods. To be called in the turn in
   * which the view changed; {@link recompute} follows once no program uses the old ones.
   */
  withdrawChanged(): bigint[] {
    const changed: bigint[] = [];
    for (const [cookie, member] of this.#members) {
      if (member.policies === undefined) continue;
      const { workload } = member;
      const current = enforcedPolicies(this.#view, this.#view.workload(workload.uid) ?? workload);
      if (sameList(current, member.policies)) continue;
      this.#table.withdraw(member.workloadId, true);
      member.policies = undefined;
      changed.push(cookie);
    }
    return changed;
  }

  /** Computes the verdicts that were withdrawn. */
  recompute(): void {
    for (const member of this.#members.values()) if (member.policies === undefined) this.#compute(member);
  }

  /**
   * Whether the kernel path may have a connection at this instant: by the cookies of both pods, the client's undefined when
   * it is no pod. Of two pods both identities have to be certain, as for each packet.
   */
  allows(cookie: bigint, client: bigint | undefined, port: number): boolean {
    const member = this.#members.get(cookie);
    if (member === undefined) return false;
    const { workload } = member;
    // Not what the table says: between a change and its verdicts there is none, and live connections are still right.
    const policies = enforcedPolicies(this.#view, this.#view.workload(workload.uid) ?? workload);
    const peer = client === undefined ? undefined : this.#members.get(client);
    if (peer !== undefined && !(peer.certain && member.certain)) return false;
    return certainlyAllowed(policies, { identity: peer?.workload, destinationPort: port });
  }

  #compute(member: Member): void {
    const { workload, workloadId, certain } = member;
    const policies = enforcedPolicies(this.#view, this.#view.workload(workload.uid) ?? workload);
    member.policies = policies;
    const verdicts = this.#verdictsOf(policies);
    this.#table.set(workloadId, certain ? verdicts : forStrangers(verdicts));
  }

  #verdictsOf(policies: readonly Policy[]): Verdict[] {
    if (policies.length === 0) return [{ identity: ANY_IDENTITY, port: 0, allow: true }];
    const ports = portsOfPolicies(policies);
    if ((ports.size + 1) * (this.#known.size + 1) > MAX_VERDICTS_OF_WORKLOAD) return [];
    const verdicts: Verdict[] = [];
    const add = (id: number, identity: Identity | undefined) => {
      const otherwise = certainlyAllowed(policies, { identity, destinationPort: 0 });
      for (const port of ports) {
        const allow = certainlyAllowed(policies, { identity, destinationPort: port });
        if (allow !== otherwise) verdicts.push({ identity: id, port, allow });
      }
      if (otherwise) verdicts.push({ identity: id, port: 0, allow: true });
    };
    for (const [id, { identity }] of this.#known) add(id, identity);
    add(NO_IDENTITY, undefined);
    return verdicts;
  }
}

/** Of a pod whose own identity is not certain: what needs none. */
function forStrangers(verdicts: readonly Verdict[]): Verdict[] {
  return verdicts
    .filter(({ identity }) => identity === ANY_IDENTITY || identity === NO_IDENTITY)
    .map((verdict) => ({ ...verdict, identity: NO_IDENTITY }));
}

function sameList(left: readonly Policy[], right: readonly Policy[]): boolean {
  return left.length === right.length && left.every((policy, index) => policy === right[index]);
}

/** `KMESH_IDENTITY_ANY`: no policy applies, for any client. */
export const ANY_IDENTITY = 0;
/** `KMESH_IDENTITY_NONE`: a peer without an attested identity. */
export const NO_IDENTITY = 0xffff_ffff;
/** `KMESH_IDENTITY_CHANGING`: the verdicts about a workload are being written anew. */
const CHANGING: Verdict = { identity: 0xffff_fffe, port: 0, allow: false };

/** One entry of `verdicts` about a workload. */
interface Verdict {
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
