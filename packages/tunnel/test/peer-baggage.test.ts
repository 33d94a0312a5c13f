import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Identity } from '@kmesh/api';
import { PeerBaggage } from '../src/inbound/peer-baggage.ts';

const shop: Identity = { trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'web' };
const other = { namespace: 'shop', workloadName: 'other', serviceName: 'other' };
const describe = (name: string): string =>
  `k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=${name},service.name=${name}`;

test("baggage of the certificate's namespace is accepted, and yields the same record every time", () => {
  const peers = new PeerBaggage();
  const first = peers.of([describe('web')], shop);
  assert.equal(first?.workloadName, 'web');
  assert.equal(peers.of([describe('web')], shop), first);
  assert.equal(
    peers.of(['k8s.deployment.name=web'], shop)?.workloadName,
    'web',
    'the namespace may be left out',
  );
});

test('the namespace is always that of the certificate; without a certificate baggage is ignored', () => {
  const peers = new PeerBaggage();
  for (const lines of [
    [describe('web').replace('=shop', '=payments')],
    ['k8s.namespace.name=shop,k8s.namespace.name=payments,service.name=x'],
    ['k8s.namespace.name=shop', 'k8s.namespace.name=payments'],
  ]) {
    assert.equal(peers.of(lines, shop)?.namespace, 'shop', lines.join());
  }
  assert.equal(peers.of([describe('web')], undefined), undefined);
  assert.equal(peers.of([], shop), undefined);
});

for (const value of ['a"b', 'a\nb', 'a\\b', 'a b', 'ä', '\0', 'x'.repeat(254), '{}', '$x', '<b>']) {
  test(`a value that is not a valid name counts as unset: ${JSON.stringify(value.slice(0, 12))}`, () => {
    const baggage = new PeerBaggage().of(
      [`${describe('web')},service.version=${value},cloud.region=r1`],
      shop,
    );
    assert.deepEqual(
      [baggage?.workloadName, baggage?.serviceVersion, baggage?.region],
      ['web', undefined, 'r1'],
    );
  });
}

test('baggage longer than any real one is not read', () => {
  assert.equal(new PeerBaggage().of([`${describe('web')},pad=${'x'.repeat(3_000)}`], shop), undefined);
});

test('2,000 invented names of one peer on one connection add one record, "other"', () => {
  const peers = new PeerBaggage();
  const first = peers.of([describe('web')], shop);
  const seen = new Set(Array.from({ length: 2_000 }, (_, n) => peers.of([describe(`w${n}`)], shop, first)));
  assert.deepEqual([...seen], [other]);
  assert.equal(peers.of([describe('web')], shop, first), first);
});

test('over many connections a peer has 16 records per hour, and "other"; other peers are not affected', () => {
  let now = 0;
  const peers = new PeerBaggage(() => now);
  const all = (prefix: string) =>
    new Set(Array.from({ length: 2_000 }, (_, n) => peers.of([describe(`${prefix}${n}`)], shop)));
  assert.equal(all('a').size, 17);
  assert.deepEqual([...all('b')], [other]);
  const another = { ...shop, serviceAccount: 'another' };
  assert.equal(peers.of([describe('fine')], another)?.workloadName, 'fine');
  now += 3_600_001;
  assert.equal(peers.of([describe('c')], shop)?.workloadName, 'c', 'records of the previous day are removed');
});
