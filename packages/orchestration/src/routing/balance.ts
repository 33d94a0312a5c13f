import type { LoadBalancer, Workload } from '@kmesh/api';
import { type LocalitySource, localityRank, matchedPreferences } from './locality.ts';

/**
 * The candidates that the load-balancing mode admits, in their order (contract 7.4): all of them (Standard and no
 * load balancer), those that match every preference (Strict), those of the highest rank (Failover), none
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
 * One item, drawn by weight; a weight of 0 is never drawn and a sum of 0 gives `undefined` (contract 7.4).
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
