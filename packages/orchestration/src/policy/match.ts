import type { Identity, ServiceAccountMatcher, StringMatcher } from '@kmesh/api';
import type { ParsedIp } from '../state/ip.ts';
import type { CidrTest, CompiledMatch, CompiledPolicy } from './compiled-policy.ts';

/** One connection as policies see it; addresses are parsed once per decision. */
export interface PolicySubject {
  readonly identity: Identity | undefined;
  /** Principal form of the identity. */
  readonly principal: string | undefined;
  readonly source: ParsedIp | undefined;
  readonly destination: ParsedIp | undefined;
  readonly destinationPort: number;
}

/**
 * Whether a policy matches (contract 8.3): no rules never match, a rule without clauses always does.
 *
 * @param unknownFieldMatches what a condition that we do not understand counts as: true for DENY, false for ALLOW
 */
export function policyMatches(
  policy: CompiledPolicy,
  subject: PolicySubject,
  unknownFieldMatches: boolean,
): boolean {
  for (const clauses of policy.rules) {
    let all = true;
    for (const clause of clauses) {
      if (clause.alwaysTrue) continue;
      let any = false;
      for (const match of clause.matches) {
        if (matches(match, subject, unknownFieldMatches)) {
          any = true;
          break;
        }
      }
      if (!any) {
        all = false;
        break;
      }
    }
    if (all) return true;
  }
  return false;
}

function matches(match: CompiledMatch, subject: PolicySubject, unknownFieldMatches: boolean): boolean {
  if (match.hasUnknownField && !unknownFieldMatches) return false;
  const { identity, principal, source, destination, destinationPort } = subject;
  const namespace = identity?.namespace ?? '';
  const { destinationPorts, notDestinationPorts } = match;
  // Most lists of most matches are empty; looking at the length first keeps a large policy set fast.
  return (
    (destinationPorts.length === 0 || destinationPorts.includes(destinationPort)) &&
    (notDestinationPorts.length === 0 || !notDestinationPorts.includes(destinationPort)) &&
    (match.namespaces.length === 0 || matchesText(match.namespaces, namespace)) &&
    (match.notNamespaces.length === 0 || !matchesText(match.notNamespaces, namespace)) &&
    (match.principals.length === 0 ||
      (principal !== undefined && matchesText(match.principals, principal))) &&
    (match.notPrincipals.length === 0 ||
      principal === undefined ||
      !matchesText(match.notPrincipals, principal)) &&
    (match.serviceAccounts.length === 0 || matchesAccount(match.serviceAccounts, identity)) &&
    (match.notServiceAccounts.length === 0 || !matchesAccount(match.notServiceAccounts, identity)) &&
    (match.sourceIps.length === 0 || matchesCidr(match.sourceIps, source)) &&
    (match.notSourceIps.length === 0 || !matchesCidr(match.notSourceIps, source)) &&
    (match.destinationIps.length === 0 || matchesCidr(match.destinationIps, destination)) &&
    (match.notDestinationIps.length === 0 || !matchesCidr(match.notDestinationIps, destination))
  );
}

function matchesText(matchers: readonly StringMatcher[], text: string): boolean {
  for (const matcher of matchers) if (matchesString(matcher, text)) return true;
  return false;
}

/** One string matcher; presence means a non-empty text (contract 8.3). */
export function matchesString(matcher: StringMatcher, text: string): boolean {
  switch (matcher.kind) {
    case 'Exact':
      return text === matcher.value;
    case 'Prefix':
      return text.startsWith(matcher.value);
    case 'Suffix':
      return text.endsWith(matcher.value);
    case 'Presence':
      return text !== '';
  }
}

/** The trust domain plays no role for service accounts (contract 8.3). */
function matchesAccount(matchers: readonly ServiceAccountMatcher[], identity: Identity | undefined): boolean {
  if (identity === undefined) return false;
  for (const { namespace, serviceAccount } of matchers) {
    if (namespace === identity.namespace && serviceAccount === identity.serviceAccount) return true;
  }
  return false;
}

function matchesCidr(tests: readonly CidrTest[], ip: ParsedIp | undefined): boolean {
  if (ip === undefined) return false;
  for (const { network, masks } of tests) {
    if (
      network.family === ip.family &&
      ((ip.a ^ network.a) & masks[0]) === 0 &&
      ((ip.b ^ network.b) & masks[1]) === 0 &&
      ((ip.c ^ network.c) & masks[2]) === 0 &&
      ((ip.d ^ network.d) & masks[3]) === 0
    ) {
      return true;
    }
  }
  return false;
}
