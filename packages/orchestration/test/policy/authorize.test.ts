import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Identity, Policy, PolicyMatch, StringMatcher } from '@kmesh/api';
import {
  type AuthorizationConnection,
  authorize,
  describeAuthorization,
} from '../../src/policy/authorize.ts';
import { formatIdentityUri, formatPrincipal, parseIdentity } from '../../src/policy/identity.ts';
import { matchesString } from '../../src/policy/match.ts';
import { type MeshRecord, mesh, oneMatch, policy, workload } from '../fixtures.ts';

const identity: Identity = { trustDomain: 'td', namespace: 'namespace', serviceAccount: 'account' };
const otherIdentity: Identity = { trustDomain: 'td-alt', namespace: 'ns-alt', serviceAccount: 'account-alt' };
const addresses = { sourceIp: '127.0.0.1', destinationIp: '127.0.0.2', destinationPort: 8080 };
const plain: AuthorizationConnection = { identity: undefined, ...addresses };
const tls: AuthorizationConnection = { identity, ...addresses };
const tlsAlt: AuthorizationConnection = {
  identity: otherIdentity,
  sourceIp: '127.0.0.3',
  destinationIp: '127.0.0.4',
  destinationPort: 9090,
};
const destination = workload('destination');
const exact = (value: string): StringMatcher[] => [{ kind: 'Exact', value }];
const presence: StringMatcher[] = [{ kind: 'Presence' }];

function decide(records: MeshRecord[], connection: AuthorizationConnection, lists: string[] = []) {
  return authorize(mesh(...records), connection, { ...destination, authorizationPolicies: lists });
}

describe('one ALLOW policy against plain, tls and tls of another trust domain', () => {
  const account = [{ namespace: 'namespace', serviceAccount: 'account' }];
  const rows: [string, Policy['rules'] | PolicyMatch, string][] = [
    ['RBC-01: no rules', [], 'no no no'],
    ['RBC-02: one rule without clauses', [[]], 'yes yes yes'],
    ['RBC-03: one clause without matches', [[[]]], 'yes yes yes'],
    ['RBC-04: one empty match', [[[{}]]], 'no no no'],
    ['RBC-04: one match of empty lists', [[[{ namespaces: [], destinationPorts: [] }]]], 'no no no'],
    ['RBC-05: namespace', { namespaces: exact('namespace') }, 'no yes no'],
    ['RBC-06: not the namespace', { notNamespaces: exact('namespace') }, 'yes no yes'],
    ['RBC-07: service account', { serviceAccounts: account }, 'no yes no'],
    ['RBC-08: not the service account', { notServiceAccounts: account }, 'yes no yes'],
    ['RBC-09: principal', { principals: exact('td/ns/namespace/sa/account') }, 'no yes no'],
    ['RBC-10: not the principal', { notPrincipals: exact('td/ns/namespace/sa/account') }, 'yes no yes'],
    ['RBC-11: source', { sourceIps: ['127.0.0.1/32'] }, 'yes yes no'],
    ['RBC-11: not the source', { notSourceIps: ['127.0.0.1/32'] }, 'no no yes'],
    ['RBC-12: destination', { destinationIps: ['127.0.0.2/32'] }, 'yes yes no'],
    ['RBC-12: not the destination', { notDestinationIps: ['127.0.0.2/32'] }, 'no no yes'],
    ['RBC-13: destination range', { destinationIps: ['127.0.0.0/24'] }, 'yes yes yes'],
    ['RBC-14: port', { destinationPorts: [8080] }, 'yes yes no'],
    ['RBC-14: not the port', { notDestinationPorts: [8080] }, 'no no yes'],
    ['RBC-15: principals presence', { principals: presence }, 'no yes yes'],
    ['RBC-15: not principals presence', { notPrincipals: presence }, 'yes no no'],
    [
      'RBC-28: principal with spiffe://',
      { principals: exact('spiffe://td/ns/namespace/sa/account') },
      'no no no',
    ],
    ['two field groups are AND-ed', { namespaces: exact('namespace'), destinationPorts: [9090] }, 'no no no'],
    ['IPv6 range never contains IPv4', { sourceIps: ['::/0'] }, 'no no no'],
  ];
  for (const [title, rules, expected] of rows) {
    test(title, () => {
      const one = policy('p', Array.isArray(rules) ? rules : oneMatch(rules as PolicyMatch));
      const results = [plain, tls, tlsAlt].map((connection) =>
        decide([one], connection).allowed ? 'yes' : 'no',
      );
      assert.equal(results.join(' '), expected);
    });
  }
});

describe('combinations', () => {
  const from = (namespace: string, port: number): AuthorizationConnection => ({
    ...tls,
    identity: { ...identity, namespace },
    destinationPort: port,
  });

  test('RBC-16: (namespace a or b) and port 80', () => {
    const rules = [[[{ namespaces: exact('a') }, { namespaces: exact('b') }], [{ destinationPorts: [80] }]]];
    const ask = (namespace: string, port: number) =>
      decide([policy('p', rules)], from(namespace, port)).allowed;
    assert.deepEqual(
      [ask('a', 80), ask('b', 80), ask('bad', 80), ask('b', 12345)],
      [true, true, false, false],
    );
  });

  test('RBC-17: either of two rules', () => {
    const rules = [[[{ namespaces: exact('a') }]], [[{ namespaces: exact('b') }]]];
    const ask = (namespace: string) => decide([policy('p', rules)], from(namespace, 80)).allowed;
    assert.deepEqual([ask('a'), ask('b'), ask('c')], [true, true, false]);
  });

  const strings: [StringMatcher, string[], string[]][] = [
    [{ kind: 'Exact', value: 'abc' }, ['abc'], ['abcd', 'xabc', '']],
    [{ kind: 'Prefix', value: 'abc' }, ['abc', 'abcd'], ['xabc', 'ab', '']],
    [{ kind: 'Suffix', value: 'abc' }, ['abc', 'xabc'], ['abcd', 'bc', '']],
    [{ kind: 'Presence' }, ['abc'], ['']],
  ];
  for (const [matcher, matching, failing] of strings) {
    test(`RBC-18: ${matcher.kind}`, () => {
      for (const text of matching) assert.equal(matchesString(matcher, text), true, text);
      for (const text of failing) assert.equal(matchesString(matcher, text), false, text);
    });
  }

  test('RBC-19: the service-account matcher ignores the trust domain, the principal matcher does not', () => {
    const connection = {
      ...tls,
      identity: { trustDomain: 'elsewhere', namespace: 'n', serviceAccount: 'default' },
    };
    const byAccount = oneMatch({ serviceAccounts: [{ namespace: 'n', serviceAccount: 'default' }] });
    const byPrincipal = oneMatch({ principals: exact('cluster.local/ns/n/sa/default') });
    assert.equal(decide([policy('p', byAccount)], connection).allowed, true);
    assert.equal(decide([policy('p', byPrincipal)], connection).allowed, false);
  });

  test('RBC-20: a namespace without policies allows', () => {
    const result = decide([policy('p', [], { namespace: 'other' })], plain);
    assert.deepEqual([result.allowed, result.reason], [true, 'noAllowPolicies']);
  });

  test('RBC-21: ALLOW policies of which none matches deny', () => {
    const rules = oneMatch({ principals: exact('cluster.local/ns/ns/sa/defaultacct') });
    const result = decide([policy('p', rules)], tls);
    assert.deepEqual([result.allowed, result.reason, result.policy], [false, 'noAllowMatched', undefined]);
    assert.match(describeAuthorization(result), /not allowed/);
  });

  test('RBC-22: a matching DENY takes precedence over an ALLOW listed before it, and is named', () => {
    const result = decide([policy('allow', [[]]), policy('deny', [[]], { action: 'Deny' })], tls);
    assert.deepEqual([result.allowed, result.policy], [false, 'ns/deny']);
    assert.match(describeAuthorization(result), /ns\/deny/);
  });

  test("RBC-23: a selector policy of another workload's list has no effect", () => {
    const deny = policy('deny', [[]], { action: 'Deny', scope: 'WorkloadSelector' });
    assert.equal(decide([deny], tls).allowed, true);
    assert.equal(decide([deny], tls, ['ns/deny']).allowed, false);
  });

  test('RBC-24: an unknown policy in the list is noted and ignored', () => {
    const result = decide([], tls, ['ns/nobody']);
    assert.equal(result.allowed, true);
    assert.deepEqual(result.notes, [{ kind: 'unknownPolicy', policy: 'ns/nobody' }]);
  });

  test('RBC-25: dry-run policies only leave notes', () => {
    const allow = policy('allow', oneMatch({ destinationPorts: [1] }), { dryRun: true });
    const deny = policy('deny', [[]], { dryRun: true, action: 'Deny' });
    const result = decide([allow, deny], tls);
    assert.equal(result.allowed, true);
    assert.deepEqual(result.notes, [
      { kind: 'dryRunDenyMatched', policy: 'ns/deny' },
      { kind: 'dryRunAllowNoneMatched', policy: '' },
    ]);
    assert.deepEqual(decide([policy('allow', [[]], { dryRun: true })], tls).notes, [
      { kind: 'dryRunAllowMatched', policy: 'ns/allow' },
    ]);
  });

  test('RBC-26: global and namespace policies are both considered', () => {
    const global = policy('global', oneMatch({ destinationPorts: [8080] }), {
      namespace: 'root',
      scope: 'Global',
    });
    const own = policy('own', oneMatch({ destinationPorts: [9090] }));
    assert.equal(decide([global, own], tls).policy, 'root/global');
    assert.equal(decide([global, own], tlsAlt).policy, 'ns/own');
    assert.equal(decide([global, own], { ...tls, destinationPort: 1 }).allowed, false);
  });

  test('RBC-27: a CIDR that cannot be read never widens a policy', () => {
    const broken = oneMatch({ sourceIps: ['127.0.0.1/32', '10.0.0.0/99'] });
    assert.equal(decide([policy('allow', broken)], tls).allowed, false);
    const negative = oneMatch({ notSourceIps: ['nonsense'] });
    assert.equal(decide([policy('allow', negative)], tls).allowed, false);
    const result = decide([policy('deny', broken, { action: 'Deny' })], tls);
    assert.deepEqual([result.allowed, result.notes[0]?.kind], [false, 'unknownField']);
  });

  test('RBC-29: a match with an unknown field never matches in ALLOW, matches in DENY, and is noted', () => {
    const unknown = oneMatch({ hasUnknownField: true });
    const allow = decide([policy('allow', unknown)], tls);
    assert.deepEqual([allow.allowed, allow.notes], [false, [{ kind: 'unknownField', policy: 'ns/allow' }]]);
    const deny = decide([policy('deny', unknown, { action: 'Deny' })], plain);
    assert.deepEqual([deny.allowed, deny.notes], [false, [{ kind: 'unknownField', policy: 'ns/deny' }]]);
    const narrowed = oneMatch({ hasUnknownField: true, destinationPorts: [1] });
    assert.equal(decide([policy('deny', narrowed, { action: 'Deny' })], tls).allowed, true);
  });

  test('RBC-30: 10,000 policies of 10 rules are all evaluated', () => {
    const rules = Array.from({ length: 10 }, (_, index) => [
      [{ sourceIps: [`10.0.${index}.0/24`] }],
      [{ destinationPorts: [index + 1] }],
    ]);
    const policies = Array.from({ length: 9_999 }, (_, index) => policy(`p${index}`, rules));
    assert.equal(decide(policies, tls).reason, 'noAllowMatched');
    assert.equal(
      decide([...policies, policy('last', oneMatch({ destinationPorts: [8080] }))], tls).policy,
      'ns/last',
    );
  });

  const noPrincipal = { notPrincipals: presence };
  const conversions: [string, Policy['rules'], number, boolean, number, boolean][] = [
    [
      'STRICT with permissive port 8080',
      [[[noPrincipal], [{ notDestinationPorts: [8080] }]]],
      8080,
      true,
      9090,
      false,
    ],
    [
      'permissive with STRICT port 8080',
      oneMatch({ ...noPrincipal, destinationPorts: [8080] }),
      8080,
      false,
      9090,
      true,
    ],
  ];
  for (const [title, rules, first, firstAllowed, second, secondAllowed] of conversions) {
    test(`RBC-31: ${title}`, () => {
      const converted = policy('converted', rules, { action: 'Deny', scope: 'WorkloadSelector' });
      const ask = (connection: AuthorizationConnection, destinationPort: number) =>
        decide([converted], { ...connection, destinationPort }, ['ns/converted']).allowed;
      assert.equal(ask(plain, first), firstAllowed);
      assert.equal(ask(plain, second), secondAllowed);
      assert.ok(ask(tls, first) && ask(tls, second));
    });
  }

  test('the static STRICT policy denies plaintext and no mTLS peer', () => {
    const strict = policy('istio_converted_static_strict', oneMatch(noPrincipal), {
      namespace: 'istio-system',
      scope: 'WorkloadSelector',
      action: 'Deny',
    });
    const lists = ['istio-system/istio_converted_static_strict'];
    assert.deepEqual(
      [plain, tls, tlsAlt].map((connection) => decide([strict], connection, lists).allowed),
      [false, true, true],
    );
  });

  test('a changed policy record is evaluated again', () => {
    const state = mesh(policy('p', [[]], { action: 'Deny' }));
    assert.equal(authorize(state, tls, destination).allowed, false);
    state.apply([{ kind: 'policy', policy: policy('p', [], { action: 'Deny' }) }]);
    assert.equal(authorize(state, tls, destination).allowed, true);
  });
});

describe('identities', () => {
  test('are read and written in both forms; anything else is none', () => {
    assert.equal(formatPrincipal(identity), 'td/ns/namespace/sa/account');
    for (const written of [identity, { trustDomain: 'td', namespace: '', serviceAccount: '' }]) {
      assert.deepEqual(parseIdentity(formatIdentityUri(written)), written);
    }
    const garbage = [
      '',
      'spiffe://',
      'spiffe://td/ns/n/sa',
      'spiffe://td/ns/n/sa/a/b',
      'spiffe://td/x/n/sa/a',
      'spiffe://td/NS/n/SA/a',
      'SPIFFE://td/ns/n/sa/a',
      'td/ns/n/sa/a',
    ];
    for (const uri of [...garbage, 'spiffe:///ns/n/sa/a']) assert.equal(parseIdentity(uri), undefined, uri);
  });
});
