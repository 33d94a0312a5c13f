import type { LocalityScope, Workload } from '@kmesh/api';

/** The side of a comparison: what the scopes look at. A workload is one. */
export type LocalitySource = Pick<Workload, 'network' | 'locality' | 'node' | 'clusterId'>;

/** Whether client and endpoint share a scope; plain text comparison, so empty equals empty (contract 7.4). */
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
 * Number of leading preferences that client and endpoint share. A first preference Network that does not match is
 * passed over instead of ending the comparison (contract 7.4). Strict compares this number.
 */
export function matchedPreferences(
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
 * Failover rank, highest wins: {@link matchedPreferences}, and for a first preference Network that matches as many
 * again as there are other preferences, so any endpoint of the own network beats every one elsewhere
 * (contract 7.4).
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
