import type {
  Policy,
  PolicyAction,
  PolicyMatch,
  PolicyScope,
  ServiceAccountMatcher,
  StringMatcher,
  securityProto,
} from '@kmesh/api';
import { cidrText, enumMember, rejected } from './common.ts';

const scopes: readonly PolicyScope[] = ['Global', 'Namespace', 'WorkloadSelector'];
const actions: readonly PolicyAction[] = ['Allow', 'Deny'];

/** Replaces an unknown part of a policy: false for ALLOW, true for DENY. */
const unknownPart: PolicyMatch = { hasUnknownField: true };

type Unknown = { readonly $unknowns?: readonly Uint8Array[] };

/**
 * Converts a wire authorization policy to a record of the mesh model (docs/contract.md 3.8).
 *
 * An invalid CIDR block or a string matcher without a branch rejects the whole policy: dropping it from its list
 * could widen what the policy allows (conformance RBC-27). An unknown field within a rule marks the smallest
 * enclosing part as unknown; evaluation then fails closed (conformance RBC-29). The message must be decoded with
 * unknown fields kept.
 *
 * @throws KMESH_XDS_RESOURCE_REJECTED with the reason.
 */
export function convertPolicy(message: securityProto.Authorization): Policy {
  return {
    name: message.name ?? '',
    namespace: message.namespace ?? '',
    scope: enumMember('scope', message.scope ?? 0, scopes),
    action: enumMember('action', message.action ?? 0, actions),
    rules: (message.rules ?? []).map(convertRule),
    dryRun: message.dryRun ?? false,
  };
}

/** Returns whether a converted policy has an unknown part. */
export function hasUnknownPart(policy: Policy): boolean {
  return policy.rules.some((rule) => rule.some((clause) => clause.some((match) => match.hasUnknownField)));
}

function convertRule(rule: securityProto.Rule): PolicyMatch[][] {
  const clauses = (rule.clauses ?? []).map(convertClause);
  if (hasUnknown(rule)) clauses.push([unknownPart]);
  return clauses;
}

function convertClause(clause: securityProto.Clause): PolicyMatch[] {
  return hasUnknown(clause) ? [unknownPart] : (clause.matches ?? []).map(convertMatch);
}

function convertMatch(match: securityProto.Match): PolicyMatch {
  const converted: { -readonly [Key in keyof PolicyMatch]: PolicyMatch[Key] } = {};
  let unknown = hasUnknown(match);

  const strings = (
    key: 'namespaces' | 'notNamespaces' | 'principals' | 'notPrincipals',
    field: string,
    list: readonly securityProto.StringMatch[] | null | undefined,
  ): void => {
    if (!list || list.length === 0) return;
    unknown ||= list.some(hasUnknown);
    converted[key] = list
      .filter((matcher) => !hasUnknown(matcher))
      .map((matcher) => convertString(field, matcher));
  };
  const accounts = (
    key: 'serviceAccounts' | 'notServiceAccounts',
    list: readonly securityProto.ServiceAccountMatch[] | null | undefined,
  ): void => {
    if (!list || list.length === 0) return;
    unknown ||= list.some(hasUnknown);
    converted[key] = list.map(convertServiceAccount);
  };
  const blocks = (
    key: 'sourceIps' | 'notSourceIps' | 'destinationIps' | 'notDestinationIps',
    field: string,
    list: readonly securityProto.Address[] | null | undefined,
  ): void => {
    if (!list || list.length === 0) return;
    unknown ||= list.some(hasUnknown);
    converted[key] = list.map((block) => convertBlock(field, block));
  };
  const ports = (
    key: 'destinationPorts' | 'notDestinationPorts',
    list: readonly number[] | null | undefined,
  ): void => {
    if (list && list.length > 0) converted[key] = list.map((port) => port & 0xffff);
  };

  strings('namespaces', 'namespaces', match.namespaces);
  strings('notNamespaces', 'not_namespaces', match.notNamespaces);
  accounts('serviceAccounts', match.serviceAccounts);
  accounts('notServiceAccounts', match.notServiceAccounts);
  strings('principals', 'principals', match.principals);
  strings('notPrincipals', 'not_principals', match.notPrincipals);
  blocks('sourceIps', 'source_ips', match.sourceIps);
  blocks('notSourceIps', 'not_source_ips', match.notSourceIps);
  blocks('destinationIps', 'destination_ips', match.destinationIps);
  blocks('notDestinationIps', 'not_destination_ips', match.notDestinationIps);
  ports('destinationPorts', match.destinationPorts);
  ports('notDestinationPorts', match.notDestinationPorts);
  if (unknown) converted.hasUnknownField = true;
  return converted;
}

function convertString(field: string, matcher: securityProto.StringMatch): StringMatcher {
  switch (matcher.matchType) {
    case 'exact':
      return { kind: 'Exact', value: matcher.exact ?? '' };
    case 'prefix':
      return { kind: 'Prefix', value: matcher.prefix ?? '' };
    case 'suffix':
      return { kind: 'Suffix', value: matcher.suffix ?? '' };
    case 'presence':
      return { kind: 'Presence' };
    default:
      throw rejected(`${field} has a string matcher without exact, prefix, suffix or presence`);
  }
}

function convertServiceAccount(match: securityProto.ServiceAccountMatch): ServiceAccountMatcher {
  return { namespace: match.namespace ?? '', serviceAccount: match.serviceAccount ?? '' };
}

function convertBlock(field: string, block: securityProto.Address): string {
  const bytes = block.address ?? new Uint8Array();
  const cidr = cidrText(bytes, block.length ?? 0);
  if (cidr === undefined) {
    throw rejected(
      `${field} has an invalid CIDR block: ${bytes.length} bytes with prefix length ${block.length ?? 0}`,
    );
  }
  return cidr;
}

function hasUnknown(message: object): boolean {
  return (message as Unknown).$unknowns !== undefined;
}
