import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Policy, PolicyMatch } from '@kmesh/api';
import { workloadRecord } from '@kmesh/api/testing';
import {
  authorize,
  certainlyAllowed,
  certainlyAllowedPorts,
  MeshState,
  policiesByPort,
} from '@kmesh/orchestration';
import { kmeshVerdictKeyLayout as layout } from '../../src/tables/gen/layouts.ts';
import { ANY_IDENTITY, NO_IDENTITY, Verdicts, VerdictTable } from '../../src/tables/verdicts.ts';
import { FakeTable } from './fake-maps.ts';

function policy(action: Policy['action'], match: PolicyMatch, fields: Partial<Policy> = {}): Policy {
  return {
    name: 'test',
    namespace: 'default',
    scope: 'Namespace',
    action,
    rules: [[[match]]],
    dryRun: false,
    ...fields,
  };
}

const identity = { trustDomain: 'cluster.local', namespace: 'default', serviceAccount: 'a' };
const isA = { principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/a' }] } as const;
const fromTen = { sourceIps: ['10.0.0.0/8'] };

const rows: readonly [name: string, policies: readonly Policy[], allowed: boolean][] = [
  ['no policy', [], true],
  ['ALLOW of the identity', [policy('Allow', isA)], true],
  ['DENY of the identity', [policy('Deny', isA)], false],
  ['ALLOW of an address range', [policy('Allow', fromTen)], false],
  ['DENY of an address range', [policy('Deny', fromTen)], false],
  ['ALLOW outside an address range', [policy('Allow', { notSourceIps: ['10.0.0.0/8'] })], false],
  [
    'DENY of an address range for others',
    [policy('Deny', { ...fromTen, notPrincipals: isA.principals })],
    true,
  ],
  ['ALLOW by address beside ALLOW of the identity', [policy('Allow', fromTen), policy('Allow', isA)], true],
  ['DENY by destination address', [policy('Deny', { destinationIps: ['10.0.0.1/32'] })], false],
  ['ALLOW with an unknown field', [policy('Allow', { ...isA, hasUnknownField: true })], false],
  ['DENY with an unknown field', [policy('Deny', { hasUnknownField: true })], false],
  ['dry-run DENY', [policy('Deny', isA, { dryRun: true })], true],
  ['ALLOW of another port', [policy('Allow', { ...isA, destinationPorts: [81] })], false],
];

for (const [name, policies, allowed] of rows) {
  test(`NEG-41: with ${name} the verdict is ${allowed ? 'allow' : 'ask'}`, () => {
    assert.equal(certainlyAllowed(policies, { identity, destinationPort: 80 }), allowed);
    // Never more than authorize allows, for any addresses.
    const view = {
      policy: () => undefined,
      policiesOfNamespace: (of: string) => (of === '' ? [] : policies),
    };
    for (const sourceIp of ['10.1.2.3', '192.168.0.1']) {
      const connection = { identity, sourceIp, destinationIp: '10.0.0.1', destinationPort: 80 };
      const answer = authorize(view, connection, { namespace: 'default', authorizationPolicies: [] });
      assert.ok(answer.allowed || !allowed);
    }
  });
}

test('NEG-41: the verdict for all ports at once is certain exactly if it is for each port', () => {
  const actions = ['Allow', 'Deny'] as const;
  const who: readonly PolicyMatch[] = [{}, isA, { notPrincipals: isA.principals }, fromTen];
  const where: readonly PolicyMatch[] = [
    {},
    { destinationPorts: [80, 81] },
    { notDestinationPorts: [80] },
    { destinationPorts: [80, 82], notDestinationPorts: [82, 83] },
  ];
  const all = actions.flatMap((action) =>
    who.flatMap((peer) => where.map((ports) => policy(action, { ...peer, ...ports }))),
  );
  // Every pair of policies, with and without one of them as dry run.
  for (const [at, left] of all.entries()) {
    for (const [otherAt, right] of all.entries()) {
      const policies = [left, { ...right, dryRun: (at + otherAt) % 5 === 0 }];
      const byPort = policiesByPort(policies);
      for (const peer of [identity, undefined]) {
        const { otherwise, differing } = certainlyAllowedPorts(policies, byPort, peer);
        for (const port of [1, 80, 81, 82, 83, 84]) {
          const expected = certainlyAllowed(policies, { identity: peer, destinationPort: port });
          const found = differing.includes(port) ? !otherwise : otherwise;
          assert.equal(found, expected, JSON.stringify({ policies, peer, port }));
        }
      }
    }
  }
});

test('NEG-41: a policy that names port 0 allows it on no other port, and its workload has no verdicts', () => {
  const only = policy('Allow', { destinationPorts: [0] });
  const map = new FakeTable(16, layout.size, 4);
  const view = new MeshState();
  view.apply([{ kind: 'policy', policy: only }]);
  const verdicts = new Verdicts(view, new VerdictTable(map, () => undefined));
  verdicts.add(1n, workloadRecord({ uid: 'server', namespace: 'default' }), 7);
  assert.equal(map.entries.size, 0);
  assert.equal(verdicts.allows(1n, undefined, 80), false);
});

function describeKey(hexKey: string): { identity: number; port: number } {
  const key = Buffer.from(hexKey.replace(/^(set|delete) /, ''), 'hex');
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return { identity: view.getUint32(layout.identity, true), port: view.getUint16(layout.portBe) };
}

test('broad verdicts are written after, and removed before, the verdicts that narrow them', () => {
  const map = new FakeTable(16, layout.size, 4);
  const table = new VerdictTable(map, () => undefined);
  table.set(7, [
    { identity: 3, port: 0, allow: true },
    { identity: 3, port: 80, allow: false },
    { identity: NO_IDENTITY, port: 80, allow: true },
  ]);
  const written = map.log.splice(0).map(describeKey);
  assert.deepEqual(written.at(-1), { identity: 3, port: 0 });
  assert.equal(table.withdraw(7), true);
  assert.deepEqual(describeKey(map.log[0] ?? ''), { identity: 3, port: 0 });
  assert.equal(map.entries.size, 0);
  assert.equal(table.withdraw(7), false);
});

test('NEG-41: when the verdicts about a workload do not fit, it has none', () => {
  const map = new FakeTable(2, layout.size, 4);
  const table = new VerdictTable(map, () => undefined);
  assert.equal(table.set(1, [{ identity: ANY_IDENTITY, port: 0, allow: true }]), true);
  const verdicts = [80, 81, 0].map((port) => ({ identity: 3, port, allow: port === 0 }));
  assert.equal(table.set(2, verdicts), false);
  assert.equal(map.entries.size, 1);
  assert.deepEqual(table.usage().refused, { 'table-full': 1 });
});
