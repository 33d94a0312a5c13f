import type { Policy, PolicyMatch, ServiceAccountMatcher, StringMatcher } from '@kmesh/api';
import { canonicalCidr } from '@kmesh/orchestration';
import type { Field, YamlReader } from './yaml-reader.ts';

const REQUIRED = ['name', 'namespace', 'scope', 'action', 'dryRun', 'rules'] as const;
const MATCH_KEYS = [
  'namespaces',
  'notNamespaces',
  'principals',
  'notPrincipals',
  'serviceAccounts',
  'notServiceAccounts',
  'sourceIps',
  'notSourceIps',
  'destinationIps',
  'notDestinationIps',
  'destinationPorts',
  'notDestinationPorts',
] as const;

const MATCHER_KINDS = ['Exact', 'Prefix', 'Suffix', 'Presence'] as const;

/** Reads one entry of `policies` (contract 4.2). */
export function readPolicy(reader: YamlReader, field: Field): Policy {
  const fields = reader.object(field, REQUIRED, []);
  return {
    name: reader.text(fields.name),
    namespace: reader.text(fields.namespace),
    scope: reader.choice(fields.scope, ['Global', 'Namespace', 'WorkloadSelector'], 'WorkloadSelector'),
    action: reader.choice(fields.action, ['Allow', 'Deny'], 'Deny'),
    dryRun: reader.flag(fields.dryRun),
    rules: reader
      .list(fields.rules)
      .map((rule) =>
        reader.list(rule).map((clause) => reader.list(clause).map((match) => readMatch(reader, match))),
      ),
  };
}

/** Reads a match. Unknown keys are allowed; they count as conditions unknown to this version (docs/contract.md 4.2). */
function readMatch(reader: YamlReader, field: Field): PolicyMatch {
  let hasUnknownField = false;
  const fields = reader.object(field, [], MATCH_KEYS, () => {
    hasUnknownField = true;
  });
  const match: { -readonly [Key in keyof PolicyMatch]: PolicyMatch[Key] } = {};
  if (hasUnknownField) match.hasUnknownField = true;
  for (const key of ['namespaces', 'notNamespaces', 'principals', 'notPrincipals'] as const) {
    const items = reader.list(fields[key]).flatMap((item) => readStringMatcher(reader, item) ?? []);
    if (items.length > 0) match[key] = items;
  }
  for (const key of ['serviceAccounts', 'notServiceAccounts'] as const) {
    const items = reader.list(fields[key]).map((item) => readServiceAccount(reader, item));
    if (items.length > 0) match[key] = items;
  }
  for (const key of ['sourceIps', 'notSourceIps', 'destinationIps', 'notDestinationIps'] as const) {
    const items = reader
      .list(fields[key])
      .flatMap((item) => reader.parsed(item, '"address/prefix length"', canonicalCidr) ?? []);
    if (items.length > 0) match[key] = items;
  }
  for (const key of ['destinationPorts', 'notDestinationPorts'] as const) {
    const items = reader.list(fields[key]).map((item) => reader.number(item, 65535));
    if (items.length > 0) match[key] = items;
  }
  return match;
}

function readServiceAccount(reader: YamlReader, field: Field): ServiceAccountMatcher {
  const fields = reader.object(field, ['namespace', 'serviceAccount'], []);
  return {
    namespace: reader.text(fields.namespace),
    serviceAccount: reader.text(fields.serviceAccount),
  };
}

/** Reads a matcher in either spelling of ztunnel's files: `{Exact: text}`, or `!Exact text` as in its dumps. */
function readStringMatcher(reader: YamlReader, field: Field): StringMatcher | undefined {
  const tag = reader.tag(field);
  const fields =
    tag === undefined
      ? reader.object(field, [], MATCHER_KINDS)
      : { [MATCHER_KINDS.find((kind) => kind === tag) ?? '']: reader.untagged(field) };
  const present = MATCHER_KINDS.filter((kind) => fields[kind] !== undefined);
  const [kind] = present;
  if (kind === undefined || present.length !== 1) {
    reader.problem(
      field,
      'exactly one of Exact, Prefix, Suffix (text) or Presence (an empty list), as {Exact: text} or !Exact text',
    );
    return undefined;
  }
  if (kind !== 'Presence') return { kind, value: reader.text(fields[kind]) };
  if (reader.list(fields.Presence).length > 0 && fields.Presence) {
    reader.problem(fields.Presence, 'an empty list');
  }
  return { kind };
}
