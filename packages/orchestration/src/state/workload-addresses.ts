import { LargeMap, type Workload } from '@kmesh/api';

/**
 * Workloads by (network, IP). Several may claim one address (docs/contract.md 3.6): an HBONE pod outranks a plain
 * pod, that another HBONE workload, that the rest; among equals the latest arrival wins, so a reused pod IP resolves
 * to the new pod. When the winner is removed, the next claimant takes over.
 *
 * A single claimant is stored without an array, and the keys are the workload's own strings: at 100,000 workloads
 * this index costs only its hash table.
 */
export class WorkloadAddresses {
  readonly #networks = new Map<string, LargeMap<Workload | Workload[]>>();

  find(network: string, ip: string): Workload | undefined {
    const claim = this.#networks.get(network)?.get(ip);
    return Array.isArray(claim) ? claim[0] : claim;
  }

  /** Replaces `previous` by `next` at all their addresses; either may be absent. */
  update(previous: Workload | undefined, next: Workload | undefined): void {
    for (const ip of claimedAddresses(previous)) {
      if (previous !== undefined && !claims(next, previous.network, ip)) this.#remove(previous, ip);
    }
    for (const ip of claimedAddresses(next)) {
      if (next !== undefined) this.#put(previous, next, ip);
    }
  }

  #put(previous: Workload | undefined, next: Workload, ip: string): void {
    let addresses = this.#networks.get(next.network);
    if (addresses === undefined) {
      addresses = new LargeMap();
      this.#networks.set(next.network, addresses);
    }
    const claim = addresses.get(ip);
    if (claim === undefined || claim === previous || claim === next) {
      addresses.set(ip, next);
      return;
    }
    const claimants = Array.isArray(claim) ? claim : [claim];
    const position = previous === undefined ? -1 : claimants.indexOf(previous);
    if (position >= 0) claimants[position] = next;
    else if (!claimants.includes(next)) claimants.unshift(next);
    claimants.sort((left, right) => claimRank(right) - claimRank(left));
    addresses.set(ip, claimants);
  }

  #remove(workload: Workload, ip: string): void {
    const addresses = this.#networks.get(workload.network);
    const claim = addresses?.get(ip);
    if (addresses === undefined || claim === undefined) return;
    if (!Array.isArray(claim)) {
      if (claim === workload) addresses.delete(ip);
    } else {
      const rest = claim.filter((claimant) => claimant !== workload);
      const [only] = rest;
      addresses.set(ip, rest.length === 1 && only !== undefined ? only : rest);
    }
    if (addresses.size === 0) this.#networks.delete(workload.network);
  }
}

const NO_ADDRESSES: readonly string[] = [];

function claimedAddresses(workload: Workload | undefined): readonly string[] {
  return workload === undefined || workload.networkMode === 'HostNetwork' ? NO_ADDRESSES : workload.addresses;
}

function claims(workload: Workload | undefined, network: string, ip: string): boolean {
  return workload?.network === network && claimedAddresses(workload).includes(ip);
}

/** Returns the rank of a claim on an address; the highest wins (docs/contract.md 3.6). */
function claimRank(workload: Workload): number {
  const pod = workload.uid.includes('//Pod/');
  if (workload.protocol === 'HBONE') return pod ? 3 : 1;
  return pod ? 2 : 0;
}
