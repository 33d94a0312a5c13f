import type { Identity, Policy, Workload } from '@kmesh/api';
import type { MeshView } from '@kmesh/orchestration';
import { certainlyAllowed, enforcedPolicies, formatPrincipal, portsOfPolicies } from '@kmesh/orchestration';
import { Identifiers } from './identifiers.ts';
import { ANY_IDENTITY, NO_IDENTITY, type Verdict, type VerdictTable } from './verdict-table.ts';

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
   * Takes back the verdicts that rest on policies which are others now: their pods' cookies. To be called in the turn in
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
