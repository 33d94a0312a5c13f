import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Policy, PolicyMatch } from '@kmesh/api';
import { authorize, certainlyAllowed } from '@kmesh/orchestration';
import { kmeshVerdictKeyLayout as layout } from '../../src/tables/gen/layouts.ts';
import { ANY_IDENTITY, NO_IDENTITY, VerdictTable } from '../../src/tables/verdicts.ts';
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
    // Never more than authorize allows, whatever the addresses are.
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

function describeKey(hexKey: string): { identity: number; port: number } {
  const key = Buffer.from(hexKey.replace(/^(set|delete) /, ''), 'hex');
  const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
  return { identity: view.getUint32(layout.identity, true), port: view.getUint16(layout.portBe) };
}

test('what allows broadly is written after, and removed before, what narrows it', () => {
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
