import type { MeshUpdate, Policy, PolicyMatch, StringMatcher } from '@kmesh/api';

/** A set of policies in force at the same time. */
export interface Scenario {
  readonly name: string;
  readonly policies: readonly Policy[];
  /** Policies in the first server's list; those of scope `WorkloadSelector` apply only there. */
  readonly selected: readonly string[];
}

/** The namespace of the servers. */
const NAMESPACE = 'shop';
const FRIEND = 'cluster.local/ns/shop/sa/sa-friend';

const exact = (value: string): StringMatcher => ({ kind: 'Exact', value });
const presence: StringMatcher = { kind: 'Presence' };

/** One field of a match each, positive and negative, in every form of matcher; two of some. */
export const conditions: Readonly<Record<string, PolicyMatch>> = {
  'the friend': { principals: [exact(FRIEND)] },
  'all but the friend': { notPrincipals: [exact(FRIEND)] },
  'a principal': { principals: [presence] },
  'no principal': { notPrincipals: [presence] },
  'principals of shop': { principals: [{ kind: 'Prefix', value: 'cluster.local/ns/shop/' }] },
  'principals sa-friend': { principals: [{ kind: 'Suffix', value: '/sa-friend' }] },
  'namespace shop': { namespaces: [exact('shop')] },
  'all but namespace shop': { notNamespaces: [exact('shop')] },
  'a service account': {
    serviceAccounts: [
      { namespace: 'shop', serviceAccount: 'sa-friend' },
      { namespace: 'other', serviceAccount: 'sa-other' },
    ],
  },
  'all but a service account': { notServiceAccounts: [{ namespace: 'shop', serviceAccount: 'sa-friend' }] },
  'port 8080': { destinationPorts: [8080] },
  'all but port 8080': { notDestinationPorts: [8080] },
  'pods of node 1': { sourceIps: ['10.1.0.0/16', 'fd00:10:1::/64'] },
  'all but pods of node 1': { notSourceIps: ['10.1.0.0/16', 'fd00:10:1::/64'] },
  'the wire': { sourceIps: ['172.18.0.0/16', 'fd00:18::/64'] },
  'the first server': { destinationIps: ['10.1.0.2/32', 'fd00:10:1::2/128'] },
  'all but the first server': { notDestinationIps: ['10.1.0.2/32', 'fd00:10:1::2/128'] },
  'the friend on port 9090': { principals: [exact(FRIEND)], destinationPorts: [9090] },
  'shop from node 1': { namespaces: [exact('shop')], sourceIps: ['10.1.0.0/16', 'fd00:10:1::/64'] },
};

function make(action: Policy['action'], match: PolicyMatch, fields: Partial<Policy> = {}): Policy {
  const name = action.toLowerCase();
  return {
    name,
    namespace: NAMESPACE,
    scope: 'Namespace',
    action,
    rules: [[[match]]],
    dryRun: false,
    ...fields,
  };
}

function scenario(name: string, policies: readonly Policy[], selected: readonly string[] = []): Scenario {
  return { name, policies, selected };
}

const strict = make(
  'Deny',
  { notPrincipals: [presence] },
  { name: 'strict', namespace: '', scope: 'Global' },
);
const onlyFriend = make('Allow', conditions['the friend'] ?? {});
const selector = { scope: 'WorkloadSelector' } as const;

/** Each condition alone, as ALLOW and as DENY, and special cases. */
export function basicScenarios(): Scenario[] {
  const single = Object.entries(conditions).flatMap(([name, match]) => [
    scenario(`ALLOW ${name}`, [make('Allow', match)]),
    scenario(`DENY ${name}`, [make('Deny', match)]),
  ]);
  return [...special(), ...single];
}

function special(): Scenario[] {
  const strictButPort = make('Deny', { notPrincipals: [presence], notDestinationPorts: [8080] });
  const strictPort = make('Deny', { notPrincipals: [presence], destinationPorts: [8080] });
  return [
    scenario('no policy', []),
    scenario('STRICT', [strict]),
    scenario('STRICT but for port 8080', [strictButPort]),
    scenario('STRICT on port 8080', [strictPort]),
    scenario('STRICT and ALLOW the friend', [strict, onlyFriend]),
    scenario('ALLOW without rules', [make('Allow', {}, { rules: [] })]),
    scenario('ALLOW with a rule without clauses', [make('Allow', {}, { rules: [[]] })]),
    scenario('DENY with a rule without clauses', [make('Deny', {}, { rules: [[]] })]),
    scenario('ALLOW with an empty match', [make('Allow', {})]),
    scenario('DENY that is tried only', [make('Deny', { destinationPorts: [8080] }, { dryRun: true })]),
    scenario('ALLOW that is tried only', [make('Allow', { destinationPorts: [1] }, { dryRun: true })]),
    scenario('a policy of another namespace', [
      make('Deny', { destinationPorts: [8080] }, { namespace: 'other' }),
    ]),
    scenario('a global DENY', [
      make('Deny', { namespaces: [exact('other')] }, { namespace: '', scope: 'Global' }),
    ]),
    scenario('a selected ALLOW', [make('Allow', conditions['the friend'] ?? {}, selector)], ['shop/allow']),
    scenario('a selected DENY', [make('Deny', conditions['no principal'] ?? {}, selector)], ['shop/deny']),
    scenario('a policy that no workload lists', [make('Deny', { destinationPorts: [8080] }, selector)]),
    scenario('a selected policy that is not known', [onlyFriend], ['shop/unknown']),
    scenario('two clauses', [
      make(
        'Allow',
        {},
        {
          rules: [
            [
              [{ namespaces: [exact('shop')] }, { namespaces: [exact('other')] }],
              [{ destinationPorts: [8080] }],
            ],
          ],
        },
      ),
    ]),
    scenario('two rules', [
      make('Allow', {}, { rules: [[[{ destinationPorts: [9090] }]], [[conditions['the friend'] ?? {}]]] }),
    ]),
  ];
}

/** Every pair of conditions: one allows and one denies; both in one match that allows, or denies; under STRICT too. */
export function* pairedScenarios(): Generator<Scenario> {
  const entries = Object.entries(conditions);
  for (const [at, [leftName, left]] of entries.entries()) {
    for (const [otherAt, [rightName, right]] of entries.entries()) {
      const scope = (['Namespace', 'WorkloadSelector', 'Global'] as const)[(at + otherAt) % 3] ?? 'Namespace';
      const fields = scope === 'Global' ? { scope, namespace: '' } : { scope };
      const both = [make('Allow', left, fields), make('Deny', right, fields)];
      const selected = scope === 'WorkloadSelector' ? ['shop/allow', 'shop/deny'] : [];
      yield scenario(`ALLOW ${leftName}, DENY ${rightName} (${scope})`, both, selected);
      if (otherAt <= at || overlap(left, right)) continue;
      const match = { ...left, ...right };
      yield scenario(`STRICT, ALLOW ${leftName} and ${rightName}`, [strict, make('Allow', match)]);
      yield scenario(`DENY ${leftName} and ${rightName}`, [make('Deny', match)]);
    }
  }
}

/** Fields that both have cannot be merged; a field and its negation would never match, with any address. */
function overlap(left: PolicyMatch, right: PolicyMatch): boolean {
  const subjects = (match: PolicyMatch) =>
    Object.keys(match).map((field) => field.replace(/^not/, '').toLowerCase());
  return subjects(left).some((subject) => subjects(right).includes(subject));
}

/** Updates of the control plane from one scenario to the next. */
export function policyUpdates(from: Scenario | undefined, to: Scenario): MeshUpdate[] {
  const kept = new Set(to.policies.map(keyOf));
  return [
    ...to.policies.map((policy) => ({ kind: 'policy', policy }) as const),
    ...(from?.policies ?? [])
      .filter((policy) => !kept.has(keyOf(policy)))
      .map((policy) => ({ kind: 'removePolicy', key: keyOf(policy) }) as const),
  ];
}

function keyOf({ namespace, name }: Policy): string {
  return `${namespace}/${name}`;
}
