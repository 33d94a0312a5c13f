import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  type Authority,
  formatAuthority,
  formatBaggage,
  formatForwarded,
  forwardedHost,
  parseAuthority,
  parseBaggage,
} from '../../src/routing/headers.ts';
import { seededRandom, workload } from '../fixtures.ts';

describe('authority', () => {
  const rows: [string | undefined, Authority | undefined][] = [
    ['10.0.0.1:80', { kind: 'address', ip: '10.0.0.1', port: 80 }],
    ['[FD00::0001]:80', { kind: 'address', ip: 'fd00::1', port: 80 }],
    ['[::ffff:10.0.0.1]:80', { kind: 'address', ip: '10.0.0.1', port: 80 }],
    ['a.example.com:65535', { kind: 'hostname', hostname: 'a.example.com', port: 65535 }],
    ['foo', undefined],
    ['foo:', undefined],
    ['foo:0', undefined],
    ['foo:65536', undefined],
    ['10.0.0:80', undefined],
    ['[10.0.0.1]:80', undefined],
    ['fd00::1:80', undefined],
    ['user@host:80', undefined],
    [':80', undefined],
    ['', undefined],
    [undefined, undefined],
  ];
  for (const [text, expected] of rows) {
    test(`reads ${text}`, () => {
      assert.deepEqual(parseAuthority(text), expected);
      if (expected !== undefined) assert.deepEqual(parseAuthority(formatAuthority(expected)), expected);
    });
  }
});

describe('forwarded', () => {
  test('OUT-26: names the client, the service host when there is one, and brackets IPv6', () => {
    assert.equal(formatForwarded('1.2.3.4', 5678), 'for="1.2.3.4:5678"');
    assert.equal(formatForwarded('1.2.3.4', 5678, 'h'), 'for="1.2.3.4:5678";host=h');
    assert.equal(formatForwarded('fd00::1', 5678), 'for="[fd00::1]:5678"');
  });

  const rows: [string, string | string[] | undefined, string | undefined][] = [
    ['plain', 'for="1.2.3.4:5";host=h.example.com', 'h.example.com'],
    ['quoted', 'for="1.2.3.4:5"; Host="h.example.com"', 'h.example.com'],
    ['absent', 'for="1.2.3.4:5"', undefined],
    ['no header', undefined, undefined],
    ['empty', 'for="1.2.3.4:5";host=', undefined],
    ['quoted empty', 'host=""', undefined],
    ['non-ASCII', 'host=hé', undefined],
    ['second line', ['for=x', 'host=h'], 'h'],
  ];
  for (const [title, value, expected] of rows) {
    test(`INB-27: host form ${title}`, () => assert.equal(forwardedHost(value), expected));
  }
});

describe('baggage', () => {
  const full = workload('w', {
    clusterId: 'c',
    namespace: 'n',
    workloadType: 'cronjob',
    workloadName: 'name',
    canonicalName: 'app',
    canonicalRevision: 'v1',
    locality: { region: 'r', zone: 'z', subzone: 's' },
  });
  const text =
    'k8s.cluster.name=c,k8s.namespace.name=n,k8s.cronjob.name=name,service.name=app,service.version=v1,' +
    'cloud.region=r,cloud.availability_zone=z';
  const parsed = {
    cluster: 'c',
    namespace: 'n',
    workloadType: 'cronjob',
    workloadName: 'name',
    serviceName: 'app',
    serviceVersion: 'v1',
    region: 'r',
    zone: 'z',
  };

  test('INB-28: writes every value in order, leaves out empty ones, and reads it back', () => {
    assert.equal(formatBaggage(full), text);
    assert.deepEqual(parseBaggage(text), parsed);
    assert.equal(
      formatBaggage({ ...full, canonicalName: '', clusterId: '' }).startsWith(
        'k8s.namespace.name=n,k8s.cron',
      ),
      true,
    );
  });

  test('INB-28: missing keys, empty values, several lines, unknown keys, further equals signs', () => {
    assert.deepEqual(parseBaggage('service.name=a'), { serviceName: 'a' });
    assert.equal(parseBaggage('service.name=')?.serviceName, undefined);
    assert.deepEqual(parseBaggage(['service.name=a', 'cloud.region=r']), { serviceName: 'a', region: 'r' });
    assert.deepEqual(parseBaggage('foo=bar,service.name=a=b=c'), { serviceName: 'a' });
    assert.equal(parseBaggage(undefined), undefined);
  });

  test('INB-28: garbage never throws', () => {
    const random = seededRandom(2);
    for (let round = 0; round < 5_000; round++) {
      const bytes = Array.from({ length: Math.floor(random() * 60) }, () => Math.floor(random() * 256));
      const garbage = String.fromCharCode(...bytes, 61, 44, ...bytes);
      parseBaggage([garbage, garbage]);
      forwardedHost(garbage);
      parseAuthority(garbage);
    }
  });
});
