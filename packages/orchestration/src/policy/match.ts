import type { Identity, Policy, PolicyMatch, ServiceAccountMatcher, StringMatcher } from '@kmesh/api';
import { type ParsedIp, parseCidr, wordMask } from '../state/ip.ts';

/** A CIDR prepared for comparison: words and masks. */
interface CidrTest {
  readonly network: ParsedIp;
  readonly masks: readonly [number, number, number, number];
}

/** A match with all lists present and CIDRs parsed. */
export interface CompiledMatch {
  readonly namespaces: readonly StringMatcher[];
  readonly notNamespaces: readonly StringMatcher[];
  readonly serviceAccounts: readonly ServiceAccountMatcher[];
  readonly notServiceAccounts: readonly ServiceAccountMatcher[];
  readonly principals: readonly StringMatcher[];
  readonly notPrincipals: readonly StringMatcher[];
  readonly sourceIps: readonly CidrTest[];
  readonly notSourceIps: readonly CidrTest[];
  readonly destinationIps: readonly CidrTest[];
  readonly notDestinationIps: readonly CidrTest[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
  readonly hasUnknownField: boolean;
}

/** A policy in the form that decisions use. */
export interface CompiledPolicy {
  readonly key: string;
  /** Rules (OR) of clauses (AND) of non-empty matches (OR); see {@link compilePolicy}. */
  readonly rules: readonly (readonly CompiledClause[])[];
  readonly hasUnknownField: boolean;
}

/** One clause: true if it has no matches in the resource, else one of its matches must hold. */
interface CompiledClause {
  readonly alwaysTrue: boolean;
  readonly matches: readonly CompiledMatch[];
}

const compiledPolicies = new WeakMap<Policy, CompiledPolicy>();
const NONE: readonly never[] = [];

/**
 * Compiles a policy, once per policy record. Matches without any field are omitted: they never match, and a clause
 * with only such matches is false (docs/contract.md 8.3).
 */
export function compilePolicy(policy: Policy): CompiledPolicy {
  let compiled = compiledPolicies.get(policy);
  if (compiled === undefined) {
    const rules = policy.rules.map((clauses) => clauses.map(compileClause));
    compiled = {
      key: `${policy.namespace}/${policy.name}`,
      rules,
      hasUnknownField: rules.some((clauses) =>
        clauses.some(({ matches }) => matches.some((match) => match.hasUnknownField)),
      ),
    };
    compiledPolicies.set(policy, compiled);
  }
  return compiled;
}

function compileClause(matches: readonly PolicyMatch[]): CompiledClause {
  return {
    alwaysTrue: matches.length === 0,
    matches: matches.filter((match) => !isEmptyMatch(match)).map(compileMatch),
  };
}

/** Returns whether a match has no condition, and therefore never matches. */
function isEmptyMatch(match: PolicyMatch): boolean {
  for (const value of Object.values(match)) {
    if (value === true || (Array.isArray(value) && value.length > 0)) return false;
  }
  return true;
}

function compileMatch(match: PolicyMatch): CompiledMatch {
  return {
    namespaces: match.namespaces ?? NONE,
    notNamespaces: match.notNamespaces ?? NONE,
    serviceAccounts: match.serviceAccounts ?? NONE,
    notServiceAccounts: match.notServiceAccounts ?? NONE,
    principals: match.principals ?? NONE,
    notPrincipals: match.notPrincipals ?? NONE,
    sourceIps: compileCidrs(match.sourceIps),
    notSourceIps: compileCidrs(match.notSourceIps),
    destinationIps: compileCidrs(match.destinationIps),
    notDestinationIps: compileCidrs(match.notDestinationIps),
    destinationPorts: match.destinationPorts ?? NONE,
    notDestinationPorts: match.notDestinationPorts ?? NONE,
    // Policies with an unparsable CIDR are rejected on arrival. One that got here counts as a condition that cannot be
    // evaluated and does not widen the policy silently.
    hasUnknownField: match.hasUnknownField === true || hasUnreadableCidr(match),
  };
}

function compileCidrs(texts: readonly string[] | undefined): readonly CidrTest[] {
  const tests: CidrTest[] = [];
  for (const text of texts ?? NONE) {
    const cidr = parseCidr(text);
    if (cidr === undefined) continue;
    const { length } = cidr;
    const masks = [
      wordMask(length),
      wordMask(length - 32),
      wordMask(length - 64),
      wordMask(length - 96),
    ] as const;
    tests.push({ network: cidr.network, masks });
  }
  return tests;
}

function hasUnreadableCidr(match: PolicyMatch): boolean {
  const lists = [match.sourceIps, match.notSourceIps, match.destinationIps, match.notDestinationIps];
  return lists.some((list) => list?.some((text) => parseCidr(text) === undefined));
}

/** One connection as policies see it, with addresses parsed once per decision. */
export interface PolicySubject {
  readonly identity: Identity | undefined;
  /** Principal form of the identity. */
  readonly principal: string | undefined;
  readonly source: ParsedIp | undefined;
  readonly destination: ParsedIp | undefined;
  readonly destinationPort: number;
}

/**
 * Returns whether a policy matches (docs/contract.md 8.3). A policy without rules never matches; a rule without
 * clauses always does.
 *
 * @param unknownFieldMatches value of a condition that this version does not know: true for DENY, false for ALLOW
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
  // Most lists of most matches are empty; checking the length first keeps large policy sets fast.
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

/** Returns whether a string matcher matches; Presence matches any non-empty text (docs/contract.md 8.3). */
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

/** Service account matchers ignore the trust domain (docs/contract.md 8.3). */
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
