import type { Policy, PolicyMatch, ServiceAccountMatcher, StringMatcher } from '@kmesh/api';
import { type ParsedIp, parseCidr, wordMask } from '../state/ip.ts';

/** A CIDR ready for comparing: words and masks. */
export interface CidrTest {
  readonly network: ParsedIp;
  readonly masks: readonly [number, number, number, number];
}

/** A match whose lists are present and whose CIDRs are parsed. */
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

/** A policy ready for deciding. */
export interface CompiledPolicy {
  readonly key: string;
  /** Rules (OR) of clauses (AND) of non-empty matches (OR); see {@link compilePolicy}. */
  readonly rules: readonly (readonly CompiledClause[])[];
  readonly hasUnknownField: boolean;
}

/** One clause: true when it was written without matches, else one of its matches must hold. */
interface CompiledClause {
  readonly alwaysTrue: boolean;
  readonly matches: readonly CompiledMatch[];
}

const compiledPolicies = new WeakMap<Policy, CompiledPolicy>();
const NONE: readonly never[] = [];

/**
 * The decision form of a policy, made once per policy record. Matches without any field are left out: they never
 * match, and a clause that has only such is false (contract 8.3).
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

/** Whether a match says nothing at all, and therefore never matches. */
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
    // A CIDR that cannot be read is refused where policies enter; should one get here, it decides like any other
    // condition that cannot be evaluated instead of silently widening the policy.
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
