import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameRecordOf } from '../src/names/record.ts';
import {
  type AddressType,
  candidateNames,
  defaultSearchDomains,
  type NameContext,
  NameTable,
  resolveName,
  wildcardsOf,
} from '../src/names/resolve.ts';
import { conformanceMesh } from './support/mesh.ts';

const context: NameContext = {
  namespace: 'ns1',
  network: 'nw1',
  clusterDomain: 'cluster.local',
  search: defaultSearchDomains('ns1', 'cluster.local'),
  preferredNamespace: 'ns-preferred',
  ipv6: true,
};

function tableOf(): NameTable {
  const state = conformanceMesh();
  const table = new NameTable();
  for (const service of state.services()) {
    const record = nameRecordOf(state, service, 'cluster.local');
    if (record !== undefined) table.put(record);
  }
  return table;
}

/** `forward`, or `[cname>]addresses` in order of text. */
function outcome(name: string, type: AddressType, change: Partial<NameContext> = {}): string {
  const answer = resolveName(tableOf(), { ...context, ...change }, name, type);
  if (answer === undefined) return 'forward';
  return `${answer.cname === undefined ? '' : `${answer.cname}>`}${[...answer.addresses].sort().join(' ')}`;
}

const cases: readonly [id: string, type: AddressType, name: string, expected: string][] = [
  ['DNS-02', 'A', 'www.google.com', '1.1.1.1'],
  ['DNS-03', 'A', 'www.google.com.ns1.svc.cluster.local', 'www.google.com>1.1.1.1'],
  ['DNS-04', 'A', 'www.bing.com', 'forward'],
  ['DNS-05', 'A', 'productpage.ns1.svc.cluster.local', '9.9.9.9'],
  ['DNS-05', 'A', 'productpage.ns1', '9.9.9.9'],
  ['DNS-05', 'A', 'productpage', '9.9.9.9'],
  ['DNS-05', 'A', 'productpage.ns1.svc', '9.9.9.9'],
  ['DNS-06', 'A', 'productpage.ns1.ns1.svc.cluster.local', 'productpage.ns1>9.9.9.9'],
  ['DNS-07', 'AAAA', 'productpage', ''],
  ['DNS-07', 'AAAA', 'www.google.com.ns1.svc.cluster.local', 'www.google.com>'],
  ['DNS-08', 'A', 'example.ns2', '10.10.10.10'],
  ['DNS-08', 'A', 'example.ns2.svc.cluster.local', '10.10.10.10'],
  ['DNS-08', 'A', 'example.ns2.svc', '10.10.10.10'],
  ['DNS-09', 'A', 'example', 'forward'],
  ['DNS-10', 'A', 'private.ns2.svc.cluster.local', 'forward'],
  ['DNS-10', 'A', 'private.ns1.svc.cluster.local', '10.10.10.12'],
  ['DNS-11', 'A', 'details.ns2.svc.cluster.remote', '11.11.11.11 12.12.12.12 13.13.13.13 14.14.14.14'],
  ['DNS-11', 'A', 'details.ns2', 'forward'],
  ['DNS-12', 'A', 'dual.localhost', '1.1.1.1'],
  ['DNS-12', 'AAAA', 'dual.localhost', '2002::1'],
  ['DNS-13', 'A', 'ipv6.localhost', ''],
  ['DNS-13', 'AAAA', 'only4', ''],
  ['DNS-14', 'A', 'foo.wildcard', '10.1.2.1'],
  ['DNS-14', 'A', 'a.b.wildcard', '10.1.2.2'],
  ['DNS-15', 'A', 'foo.svc.mesh.company.net', '10.1.2.3'],
  ['DNS-15', 'A', 'foo.foons.svc.mesh.company.net', '10.1.2.3'],
  ['DNS-16', 'A', 'foo.svc.mesh.company.net.ns1.svc.cluster.local', '10.1.2.3'],
  ['DNS-17', 'A', 'elsewhere.example', ''],
  ['DNS-17', 'A', 'both.example', '3.3.3.3'],
  ['DNS-18', 'A', 'headless.ns1.svc.cluster.local', '10.0.1.1 10.0.1.2'],
  ['DNS-18', 'AAAA', 'headless.ns1.svc.cluster.local', '2001:db8::1 2001:db8::2'],
  ['DNS-19', 'AAAA', 'headless-v6', '2001:db8::6'],
  ['DNS-19', 'A', 'headless-v6', ''],
  ['DNS-20', 'A', 'set-0.set.ns1.svc.cluster.local', '10.0.2.1'],
  ['DNS-20', 'AAAA', 'set-0.set.ns1.svc.cluster.local', '2001:db8::20'],
  ['DNS-20', 'AAAA', 'set-1.set.ns1.svc.cluster.local', ''],
  ['DNS-20', 'A', 'set-1.set.ns1.svc', '10.0.2.2'],
  ['DNS-20', 'A', 'set-1.set', '10.0.2.2'],
  ['DNS-20 (an unhealthy pod)', 'A', 'set-2.set.ns1.svc.cluster.local', 'forward'],
  ['DNS-20 (no pod of a set)', 'A', 'plain-7d4b9c.set.ns1.svc.cluster.local', 'forward'],
  ['DNS-21', 'A', 'outside.example', 'forward'],
  ['DNS-21 (only a range)', 'A', 'range.example', 'forward'],
  ['DNS-22 (preferred)', 'A', 'preferred.io', '10.20.0.2'],
  ['DNS-22 (local before canonical)', 'A', 'local.io', '10.20.1.1'],
  ['DNS-22 (canonical before preferred)', 'A', 'canonical.io', '10.20.2.3'],
  ['host names of the mesh in another case', 'A', 'upper.example', '4.4.4.4'],
  ['the root', 'A', '', 'forward'],
];

for (const [id, type, name, expected] of cases) {
  test(`${id}: ${type} ${name}.`, () => assert.equal(outcome(name, type), expected));
}

test('DNS-25: with IPV6_ENABLED=false AAAA of a dual-stack name is empty', () => {
  assert.equal(outcome('dual.localhost', 'AAAA', { ipv6: false }), '');
  assert.equal(outcome('dual.localhost', 'A', { ipv6: false }), '1.1.1.1');
});

test('DNS-30: expansions of short names', () => {
  const client = { namespace: 'ns1', clusterDomain: 'cluster.local', search: [] };
  const expansions = (text: string): string[] =>
    candidateNames(text, client)
      .slice(1)
      .map(({ name }) => name);
  assert.deepEqual(expansions('name'), ['name.ns1.svc.cluster.local']);
  assert.deepEqual(expansions('name.ns2'), ['name.ns2.svc.cluster.local', 'name.ns2.ns1.svc.cluster.local']);
  assert.deepEqual(expansions('name.ns2.svc'), [
    'name.ns2.svc.cluster.local',
    'name.ns2.svc.svc.cluster.local',
  ]);
  assert.deepEqual(expansions('name.ns2.not-svc'), ['name.ns2.not-svc.svc.cluster.local']);
  assert.deepEqual(expansions('pod.sub.ns.svc'), ['pod.sub.ns.svc.cluster.local']);
  assert.deepEqual(expansions('pod.sub.ns.not-svc'), []);
  assert.deepEqual(expansions('name.ns2.svc.cluster.local'), []);
});

test('a wildcard replaces one label after the other, down to the last two', () => {
  assert.deepEqual(wildcardsOf('a.b.c'), ['*.b.c', '*.c']);
  assert.deepEqual(wildcardsOf('a'), []);
});

test('an updated record keeps its place, and a removed one is not found', () => {
  const table = tableOf();
  const [first, second] = table.recordsOf('preferred.io');
  assert.ok(first !== undefined && second !== undefined);
  table.put({ ...first, canonical: true });
  assert.deepEqual(
    table.recordsOf('preferred.io').map(({ key }) => key),
    [first.key, second.key],
  );
  table.remove(first.key);
  table.remove(first.key);
  assert.deepEqual(table.recordsOf('preferred.io'), [second]);
  table.remove(second.key);
  assert.deepEqual(table.recordsOf('preferred.io'), []);
});
