import type { Identity, Policy, Workload } from '@kmesh/api';
import type { MeshView } from '../state/mesh-view.ts';
import { candidatePolicies } from './authorize.ts';
import { formatPrincipal } from './identity.ts';
import {
  type CompiledMatch,
  type CompiledPolicy,
  compilePolicy,
  type PolicySubject,
  policyMatches,
} from './match.ts';

/** A peer as the kernel knows it: an attested identity or none. Addresses are ignored. */
interface AddresslessPeer {
  readonly identity: Identity | undefined;
  readonly destinationPort: number;
}

/** Stands for every port that no policy of the workload names. */
const UNNAMED_PORT = -1;

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
  const subject = subjectOf(peer);
  let allowPolicies = false;
  let allowed = false;
  for (const policy of policies) {
    if (policy.dryRun) continue;
    const deny = policy.action === 'Deny';
    const matched = certainlyMatches(policy, subject);
    if (deny && matched) return false;
    if (deny) continue;
    allowPolicies = true;
    allowed ||= matched;
  }
  return allowed || !allowPolicies;
}

/** Returns the ports that policies name, each with the policies that name it. */
export function policiesByPort(policies: readonly Policy[]): ReadonlyMap<number, readonly Policy[]> {
  const byPort = new Map<number, Policy[]>();
  for (const policy of policies) {
    const ports = policy.rules
      .flat(2)
      .flatMap(({ destinationPorts = [], notDestinationPorts = [] }) => [
        ...destinationPorts,
        ...notDestinationPorts,
      ]);
    for (const port of new Set(ports)) {
      const naming = byPort.get(port);
      if (naming === undefined) byPort.set(port, [policy]);
      else naming.push(policy);
    }
  }
  return byPort;
}

/** Certain answers for one identity, on every port. */
interface CertainPorts {
  /** Answer on ports that are not in `differing`. */
  readonly otherwise: boolean;
  /** Ports with the opposite answer. */
  readonly differing: readonly number[];
}

/**
 * Returns the result of {@link certainlyAllowed} for every port. Only the policies that name a port are evaluated again
 * for it; the others give the same answer on all ports. The time grows with the policies, not with policies times
 * ports.
 *
 * @param byPort result of {@link policiesByPort} for the same policies
 */
export function certainlyAllowedPorts(
  policies: readonly Policy[],
  byPort: ReadonlyMap<number, readonly Policy[]>,
  identity: Identity | undefined,
): CertainPorts {
  const subject = subjectOf({ identity, destinationPort: UNNAMED_PORT });
  const enforced = policies.filter(({ dryRun }) => !dryRun);
  const matching = new Set(enforced.filter((policy) => certainlyMatches(policy, subject)));
  const isDeny = ({ action }: Policy): boolean => action === 'Deny';
  const denies = [...matching].filter(isDeny).length;
  const allows = matching.size - denies;
  const allowsAll = enforced.every(isDeny);
  const otherwise = denies === 0 && (allows > 0 || allowsAll);
  const differing: number[] = [];
  for (const [destinationPort, naming] of byPort) {
    const there = { ...subject, destinationPort };
    let [deniesThere, allowsThere] = [denies, allows];
    for (const policy of naming) {
      if (policy.dryRun) continue;
      const change = Number(certainlyMatches(policy, there)) - Number(matching.has(policy));
      if (isDeny(policy)) deniesThere += change;
      else allowsThere += change;
    }
    const allowed = deniesThere === 0 && (allowsThere > 0 || allowsAll);
    if (allowed !== otherwise) differing.push(destinationPort);
  }
  return { otherwise, differing };
}

function subjectOf({ identity, destinationPort }: AddresslessPeer): PolicySubject {
  const principal = identity === undefined ? undefined : formatPrincipal(identity);
  return { identity, principal, source: undefined, destination: undefined, destinationPort };
}

/** Returns whether a DENY policy may match for some addresses, or an ALLOW policy matches for all addresses. */
function certainlyMatches(policy: Policy, subject: PolicySubject): boolean {
  return policyMatches(ignoreAddresses(policy), subject, policy.action === 'Deny');
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
