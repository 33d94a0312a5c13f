import type { Identity, Policy, TableUsage, Workload } from '@kmesh/api';
import {
  certainlyAllowed,
  certainlyAllowedPorts,
  enforcedPolicies,
  formatPrincipal,
  type MeshView,
  policiesByPort,
  type Slicer,
} from '@kmesh/orchestration';
import { RefusalCounter } from './counters.ts';
import { kmeshVerdictKeyLayout as keyLayout, kmeshVerdict } from './gen/layouts.ts';
import { Identifiers } from './identifiers.ts';
import type { EntryTable } from './kernel-object.ts';

/** Maximum number of verdicts for one workload, to limit memory; beyond it, connections take the tunnel path. */
const MAX_VERDICTS_OF_WORKLOAD = 16_384;

interface Member {
  readonly workload: Workload;
  readonly workloadId: number;
  /** Whether its own identity is certain: peers with a certain identity may connect to it in the kernel. */
  readonly certain: boolean;
  /** The policies from which its verdicts were computed; undefined while there are none. */
  policies: readonly Policy[] | undefined;
}

/** The verdicts of a list of policies for the known identities. */
interface Computed {
  readonly policies: readonly Policy[];
  readonly verdicts: readonly Verdict[];
}

/** Keeps the verdicts for the enrolled pods of this node equal to the policies. */
export class Verdicts {
  readonly #view: MeshView;
  readonly #table: VerdictTable;
  readonly #members = new Map<bigint, Member>();
  readonly #identities: Identifiers;
  /** By id, for the lifetime of the daemon: events name identities whose pods have left. */
  readonly #byId = new Map<number, Identity>();
  readonly #known = new Map<number, { readonly identity: Identity; pods: number }>();

  /** @param firstId of an identity; see `KernelTables` */
  constructor(view: MeshView, table: VerdictTable, firstId?: number) {
    this.#identities = new Identifiers(firstId);
    this.#view = view;
    this.#table = table;
  }

  /** Returns the id of the identity of a workload, for its pod's entry. */
  identityId(workload: Workload): number {
    const id = this.#identities.idOf(formatPrincipal(workload));
    if (!this.#byId.has(id)) this.#byId.set(id, workload);
    return id;
  }

  /** Returns the identity of an id, also when its last pod has left. */
  identity(id: number): Identity | undefined {
    return this.#byId.get(id);
  }

  /** Adds an enrolled pod, as a client and as a destination. */
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
      const computed: Computed[] = [];
      for (const other of this.#members.values()) if (other.policies?.length) this.#compute(other, computed);
    } else {
      known.pods++;
    }
    this.#compute(member, []);
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
   * Withdraws verdicts derived from changed policies; returns the cookies of the affected pods. Call it in the turn of
   * the view's change; {@link recompute} follows once no program uses the old ones.
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

  /** Computes the verdicts that were withdrawn when it was called; no program may use the old ones any more. */
  async recompute(slicer: Slicer): Promise<void> {
    // Verdicts withdrawn during a pause, after their turn here, must wait for a separate barrier.
    const withdrawn = [...this.#members].filter(([, { policies }]) => policies === undefined);
    let computed: Computed[] = [];
    for (const [cookie, member] of withdrawn) {
      if (this.#members.get(cookie) !== member || member.policies !== undefined) continue;
      this.#compute(member, computed);
      if (!slicer.due) continue;
      await slicer.pause();
      computed = [];
    }
  }

  /**
   * Returns whether the kernel path may carry a connection now, by the cookies of both pods, the client's undefined if
   * it is not a pod. Between two pods both identities must be certain, as for each packet.
   */
  allows(cookie: bigint, client: bigint | undefined, port: number): boolean {
    const member = this.#members.get(cookie);
    if (member === undefined) return false;
    const { workload } = member;
    // Not by the table: it is empty between a change and its verdicts, while live connections are still right.
    const policies = enforcedPolicies(this.#view, this.#view.workload(workload.uid) ?? workload);
    const peer = client === undefined ? undefined : this.#members.get(client);
    if (peer !== undefined && !(peer.certain && member.certain)) return false;
    return certainlyAllowed(policies, { identity: peer?.workload, destinationPort: port });
  }

  /** @param computed results of this turn: pods of one namespace mostly have the same policies */
  #compute(member: Member, computed: Computed[]): void {
    const { workload, workloadId, certain } = member;
    const policies = enforcedPolicies(this.#view, this.#view.workload(workload.uid) ?? workload);
    member.policies = policies;
    const same = computed.find((one) => sameList(one.policies, policies));
    const verdicts = same?.verdicts ?? this.#verdictsOf(policies);
    if (same === undefined) computed.push({ policies, verdicts });
    this.#table.set(workloadId, certain ? verdicts : forStrangers(verdicts));
  }

  #verdictsOf(policies: readonly Policy[]): readonly Verdict[] {
    if (policies.length === 0) return [{ identity: ANY_IDENTITY, port: 0, allow: true }];
    const ports = policiesByPort(policies);
    // A rule for port 0 cannot be expressed: in the table 0 stands for all other ports.
    if (ports.has(0)) return [];
    if ((ports.size + 1) * (this.#known.size + 1) > MAX_VERDICTS_OF_WORKLOAD) return [];
    const verdicts: Verdict[] = [];
    const add = (id: number, identity: Identity | undefined) => {
      const { otherwise, differing } = certainlyAllowedPorts(policies, ports, identity);
      for (const port of differing) verdicts.push({ identity: id, port, allow: !otherwise });
      if (otherwise) verdicts.push({ identity: id, port: 0, allow: true });
    };
    for (const [id, { identity }] of this.#known) add(id, identity);
    add(NO_IDENTITY, undefined);
    return verdicts;
  }
}

/** Returns the verdicts that need no identity, for a pod whose own identity is not certain. */
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
/** `KMESH_IDENTITY_CHANGING`: the verdicts for a workload are being rewritten. */
const CHANGING: Verdict = { identity: 0xffff_fffe, port: 0, allow: false };

/** One entry of `verdicts` for a workload. */
interface Verdict {
  readonly identity: number;
  /** 0 for the ports without a separate entry. */
  readonly port: number;
  readonly allow: boolean;
}

/**
 * The `verdicts` hash. Entries that allow too much while others are missing are written last and removed
 * first, so at no instant more is allowed than by one of the complete states.
 */
export class VerdictTable {
  readonly #map: EntryTable;
  readonly #entries = new Map<number, Map<string, Verdict>>();
  readonly #refused = new RefusalCounter();
  readonly #withdrawn: () => void;
  /** Workloads whose verdicts are being written. */
  readonly #changing = new Set<number>();
  #used = 0;

  /** @param withdrawn called after permissions were reduced */
  constructor(map: EntryTable, withdrawn: () => void) {
    this.#map = map;
    this.#withdrawn = withdrawn;
  }

  /** Removes all verdicts for a workload: its connections take the tunnel path. Returns true when there was one. */
  withdraw(workload: number, changing = false): boolean {
    this.#announce(workload, changing);
    const entries = this.#entries.get(workload);
    if (entries === undefined) return false;
    this.#delete(workload, [...entries.values()]);
    this.#entries.delete(workload);
    this.#withdrawn();
    return true;
  }

  /** Replaces the verdicts for a workload. If they do not fit it has none, which is counted. */
  set(workload: number, verdicts: readonly Verdict[]): boolean {
    const wanted = new Map(verdicts.map((verdict) => [keyText(verdict), verdict]));
    const present = this.#entries.get(workload) ?? new Map<string, Verdict>();
    this.#entries.set(workload, present);
    const ended = [...present].filter(([text, { allow }]) => wanted.get(text)?.allow !== allow);
    this.#delete(workload, valuesOf(ended));
    for (const [text] of ended) present.delete(text);
    const added = [...wanted].filter(([text]) => !present.has(text));
    for (const [text, verdict] of added) present.set(text, verdict);
    if (!this.#add(workload, valuesOf(added))) {
      this.#refused.count('table-full');
      this.withdraw(workload);
      return false;
    }
    const reduced = ended.length > 0 || added.some(([, { allow }]) => !allow);
    if (reduced) this.#withdrawn();
    this.#announce(workload, false);
    return true;
  }

  /** Returns whether the programs let an identity dial a workload's port: `is_allowed` of bpf/verdicts.h. */
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
    const key = packedKeys(workload, [CHANGING]);
    if (changing) {
      if (this.#map.updateBatch(key, packedValues([CHANGING]), 1) === 1) this.#changing.add(workload);
    } else {
      this.#map.deleteBatch(key, 1);
      this.#changing.delete(workload);
    }
  }

  /** @returns whether all fit */
  #add(workload: number, verdicts: readonly Verdict[]): boolean {
    const sorted = verdicts.toSorted(narrowFirst);
    const written = this.#map.updateBatch(packedKeys(workload, sorted), packedValues(sorted), sorted.length);
    this.#used += written;
    return written === sorted.length;
  }

  #delete(workload: number, verdicts: readonly Verdict[]): void {
    this.#used -= this.#map.deleteBatch(packedKeys(workload, verdicts.toSorted(broadFirst)), verdicts.length);
  }
}

function valuesOf(entries: readonly (readonly [string, Verdict])[]): Verdict[] {
  return entries.map(([, verdict]) => verdict);
}

function broadFirst(left: Verdict, right: Verdict): number {
  return breadth(right) - breadth(left);
}

function narrowFirst(left: Verdict, right: Verdict): number {
  return breadth(left) - breadth(right);
}

function breadth({ identity, port }: Verdict): number {
  if (identity === ANY_IDENTITY) return 2;
  return port === 0 ? 1 : 0;
}

function keyText({ identity, port }: Pick<Verdict, 'identity' | 'port'>): string {
  return `${identity}:${port}`;
}

function packedKeys(workload: number, verdicts: readonly Pick<Verdict, 'identity' | 'port'>[]): Uint8Array {
  const keys = new DataView(new ArrayBuffer(verdicts.length * keyLayout.size));
  for (const [index, { identity, port }] of verdicts.entries()) {
    const at = index * keyLayout.size;
    keys.setUint32(at + keyLayout.workload, workload, true);
    keys.setUint32(at + keyLayout.identity, identity, true);
    keys.setUint16(at + keyLayout.portBe, port);
  }
  return new Uint8Array(keys.buffer);
}

function packedValues(verdicts: readonly Pick<Verdict, 'allow'>[]): Uint8Array {
  const values = new DataView(new ArrayBuffer(verdicts.length * 4));
  for (const [index, { allow }] of verdicts.entries())
    values.setUint32(index * 4, allow ? kmeshVerdict.allow : kmeshVerdict.ask, true);
  return new Uint8Array(values.buffer);
}
