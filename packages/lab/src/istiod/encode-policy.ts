import { type Policy, type PolicyMatch, type StringMatcher, securityProto } from '@kmesh/api';
import { ipBytes } from '../pki/ip-bytes.ts';

const scopeNumbers = { Global: 0, Namespace: 1, WorkloadSelector: 2 } as const;

function encodeMatcher(matcher: StringMatcher): securityProto.StringMatch {
  switch (matcher.kind) {
    case 'Exact':
      return { exact: matcher.value };
    case 'Prefix':
      return { prefix: matcher.value };
    case 'Suffix':
      return { suffix: matcher.value };
    case 'Presence':
      return { presence: {} };
  }
}

function encodeCidr(cidr: string): securityProto.Address {
  const [address = '', length] = cidr.split('/');
  const bytes = ipBytes(address);
  return { address: bytes, length: length === undefined ? bytes.length * 8 : Number(length) };
}

function encodeMatch(match: PolicyMatch): securityProto.Match {
  return {
    namespaces: (match.namespaces ?? []).map(encodeMatcher),
    notNamespaces: (match.notNamespaces ?? []).map(encodeMatcher),
    serviceAccounts: (match.serviceAccounts ?? []).map((account) => ({ ...account })),
    notServiceAccounts: (match.notServiceAccounts ?? []).map((account) => ({ ...account })),
    principals: (match.principals ?? []).map(encodeMatcher),
    notPrincipals: (match.notPrincipals ?? []).map(encodeMatcher),
    sourceIps: (match.sourceIps ?? []).map(encodeCidr),
    notSourceIps: (match.notSourceIps ?? []).map(encodeCidr),
    destinationIps: (match.destinationIps ?? []).map(encodeCidr),
    notDestinationIps: (match.notDestinationIps ?? []).map(encodeCidr),
    destinationPorts: [...(match.destinationPorts ?? [])],
    notDestinationPorts: [...(match.notDestinationPorts ?? [])],
  };
}

/** The payload of an `Authorization` resource (protocol notes, section 5). */
export function policyPayload(policy: Policy): Buffer {
  return securityProto.Authorization.encode({
    name: policy.name,
    namespace: policy.namespace,
    scope: scopeNumbers[policy.scope],
    action: policy.action === 'Deny' ? 1 : 0,
    rules: policy.rules.map((rule) => ({
      clauses: rule.map((clause) => ({ matches: clause.map(encodeMatch) })),
    })),
    dryRun: policy.dryRun,
  });
}
