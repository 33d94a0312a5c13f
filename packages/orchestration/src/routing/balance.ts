import type { LoadBalancer, LocalityScope, Workload } from '@kmesh/api';

/** One side of a locality comparison. A workload is one. */
export type LocalitySource = Pick<Workload, 'network' | 'locality' | 'node' | 'clusterId'>;

/**
 * Returns whether client and endpoint share a scope. Texts are compared as they are: empty equals empty
 * (docs/contract.md 7.4).
 */
function sharesScope(scope: LocalityScope, source: LocalitySource, endpoint: LocalitySource): boolean {
  switch (scope) {
    case 'Region':
      return source.locality.region === endpoint.locality.region;
    case 'Zone':
      return source.locality.zone === endpoint.locality.zone;
    case 'Subzone':
      return source.locality.subzone === endpoint.locality.subzone;
    case 'Node':
      return source.node === endpoint.node;
    case 'Cluster':
      return source.clusterId === endpoint.clusterId;
    case 'Network':
      return source.network === endpoint.network;
  }
}

/**
 * Counts the leading preferences that client and endpoint share. A first preference Network that does not match is
 * skipped and does not end the comparison (docs/contract.md 7.4). Strict compares this number.
 */
function matchedPreferences(
  preferences: readonly LocalityScope[],
  source: LocalitySource,
  endpoint: LocalitySource,
): number {
  let matched = 0;
  for (const [index, scope] of preferences.entries()) {
    if (sharesScope(scope, source, endpoint)) matched++;
    else if (index > 0 || scope !== 'Network') break;
  }
  return matched;
}

/**
 * Returns the failover rank; the highest wins. It is {@link matchedPreferences}, plus the number of other preferences
 * if the first one is Network and matches: any endpoint of the own network outranks every remote one
 * (docs/contract.md 7.4).
 */
export function localityRank(
  preferences: readonly LocalityScope[],
  source: LocalitySource,
  endpoint: LocalitySource,
): number {
  const matched = matchedPreferences(preferences, source, endpoint);
  const sameNetwork = preferences[0] === 'Network' && sharesScope('Network', source, endpoint);
  return sameNetwork ? matched + preferences.length - 1 : matched;
}

/**
 * Returns the candidates that the load-balancing mode admits, in their order (docs/contract.md 7.4): all (Standard or
 * no load balancer), those that match every preference (Strict), those of the highest rank (Failover), none
 * (Passthrough).
 */
export function eligibleCandidates<Item extends { readonly workload: Workload }>(
  candidates: readonly Item[],
  loadBalancer: LoadBalancer | undefined,
  source: LocalitySource,
): readonly Item[] {
  const preferences = loadBalancer?.routingPreferences ?? [];
  switch (loadBalancer?.mode) {
    case 'Passthrough':
      return [];
    case 'Strict':
      return candidates.filter(
        ({ workload }) => matchedPreferences(preferences, source, workload) === preferences.length,
      );
    case 'Failover': {
      let best: Item[] = [];
      let bestRank = -1;
      for (const candidate of candidates) {
        const rank = localityRank(preferences, source, candidate.workload);
        if (rank < bestRank) continue;
        if (rank > bestRank) {
          best = [];
          bestRank = rank;
        }
        best.push(candidate);
      }
      return best;
    }
    default:
      return candidates;
  }
}

/**
 * Draws one item by weight. A weight of 0 is never drawn; a sum of 0 gives `undefined` (docs/contract.md 7.4). `random`
 * is not called if there is no choice.
 *
 * @param random uniform in [0, 1)
 */
export function drawWeighted<Item extends { readonly weight: number }>(
  items: readonly Item[],
  random: () => number = Math.random,
): Item | undefined {
  let sum = 0;
  for (const { weight } of items) sum += weight;
  if (sum <= 0) return undefined;
  const [only] = items;
  if (only !== undefined && only.weight === sum) return only;
  let rest = random() * sum;
  let last: Item | undefined;
  for (const item of items) {
    if (item.weight <= 0) continue;
    if (rest < item.weight) return item;
    rest -= item.weight;
    last = item;
  }
  return last;
}
