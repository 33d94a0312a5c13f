import type { Identity, Policy, Workload } from '@kmesh/api';
import type { MeshView } from '../state/mesh-view.ts';
import { candidatePolicies } from './authorize.ts';
import { formatPrincipal } from './identity.ts';
import { type CompiledMatch, type CompiledPolicy, compilePolicy, policyMatches } from './match.ts';

/** A peer as the kernel knows it: an attested identity or none. Addresses are ignored. */
interface AddresslessPeer {
  readonly identity: Identity | undefined;
  /** Target port; 0 represents every port that no policy of the workload names. */
  readonly destinationPort: number;
}

const withoutAddresses = new WeakMap<Policy, CompiledPolicy>();

/** Returns the enforced policies that apply to a workload; its verdicts depend on them. */
export function enforcedPolicies(
  view: Pick<MeshView, 'policy' | 'policiesOfNamespace'>,
  workload: Pick<Workload, 'namespace' | 'authorizationPolicies'>,
): readonly Policy[] {
  return candidatePolicies(view, workload).filter((policy) => !policy.dryRun);
}

/**
 * Returns whether `authorize` allows a connection for every possible address. A condition on an address is treated as
 * an unknown field: it never widens an ALLOW policy and never narrows a DENY policy.
 */
export function certainlyAllowed(policies: readonly Policy[], peer: AddresslessPeer): boolean {
  const { identity, destinationPort } = peer;
  const subject = {
    identity,
    principal: identity === undefined ? undefined : formatPrincipal(identity),
    source: undefined,
    destination: undefined,
    destinationPort,
  };
  let allowPolicies = false;
  let allowed = false;
  for (const policy of policies) {
    if (policy.dryRun) continue;
    const deny = policy.action === 'Deny';
    const matched = policyMatches(ignoreAddresses(policy), subject, deny);
    if (deny && matched) return false;
    if (deny) continue;
    allowPolicies = true;
    allowed ||= matched;
  }
  return allowed || !allowPolicies;
}

/** Returns every port that a policy names. */
export function portsOfPolicies(policies: readonly Policy[]): Set<number> {
  const ports = new Set<number>();
  for (const match of policies.flatMap((policy) => policy.rules.flat(2))) {
    for (const port of match.destinationPorts ?? []) ports.add(port);
    for (const port of match.notDestinationPorts ?? []) ports.add(port);
  }
  return ports;
}

function ignoreAddresses(policy: Policy): CompiledPolicy {
  let compiled = withoutAddresses.get(policy);
  if (compiled === undefined) {
    const { key, rules, hasUnknownField } = compilePolicy(policy);
    compiled = {
      key,
      hasUnknownField,
      rules: rules.map((clauses) =>
        clauses.map(({ alwaysTrue, matches }) => ({ alwaysTrue, matches: matches.map(ignoreIn) })),
      ),
    };
    withoutAddresses.set(policy, compiled);
  }
  return compiled;
}

function ignoreIn(match: CompiledMatch): CompiledMatch {
  const { sourceIps, notSourceIps, destinationIps, notDestinationIps } = match;
  if (sourceIps.length + notSourceIps.length + destinationIps.length + notDestinationIps.length === 0)
    return match;
  return {
    ...match,
    sourceIps: [],
    notSourceIps: [],
    destinationIps: [],
    notDestinationIps: [],
    hasUnknownField: true,
  };
}
