import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Service, workloadProto } from '@kmesh/api';
import { Interner } from '../../../src/xds/convert/common.ts';
import { convertService } from '../../../src/xds/convert/service.ts';
import { assertRejects } from '../support/resources.ts';

function convert(message: workloadProto.Service): Service {
  return convertService(workloadProto.Service.decode(workloadProto.Service.encode(message)), new Interner());
}

function assertRejected(message: workloadProto.Service, reason: RegExp): void {
  assertRejects(() => convert(message), reason);
}

const v4 = Uint8Array.of(10, 1, 2, 3);
const v6 = Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15);

describe('conversion of services', () => {
  const addresses = [
    { bytes: v4, length: undefined, vip: '10.1.2.3' },
    { bytes: v4, length: 32, vip: '10.1.2.3' },
    { bytes: v4, length: 8, cidr: '10.0.0.0/8' },
    { bytes: v4, length: 0, cidr: '0.0.0.0/0' },
    { bytes: v6, length: 128, vip: '2001:db8::15' },
    { bytes: v6, length: 64, cidr: '2001:db8::/64' },
    { bytes: v6, length: 0, cidr: '::/0' },
  ];
  for (const { bytes, length, vip, cidr } of addresses) {
    test(`a VIP of ${bytes.length} bytes with prefix length ${length} is ${vip ?? cidr}`, () => {
      const entry = { network: 'n', address: bytes, ...(length === undefined ? {} : { length }) };
      const service = convert({ addresses: [entry] });
      assert.deepEqual(service.vips, vip === undefined ? [] : [{ network: 'n', ip: vip }]);
      assert.deepEqual(service.cidrVips, cidr === undefined ? [] : [{ network: 'n', cidr }]);
    });
  }

  const rejections: readonly (readonly [string, workloadProto.Service, RegExp])[] = [
    ['an address of 5 bytes', { addresses: [{ address: new Uint8Array(5) }] }, /address has 5 bytes/],
    [
      'a prefix that is too long',
      { addresses: [{ address: v4, length: 33 }] },
      /10\.1\.2\.3 has the prefix length 33/,
    ],
    ['an unspecified scope', { loadBalancing: { routingPreference: [0] } }, /routing_preference/],
    ['an unknown scope', { loadBalancing: { routingPreference: [7 as never] } }, /routing_preference .* 7/],
    ['an unknown mode', { loadBalancing: { mode: 4 as never } }, /load balancing mode .* 4/],
    ['an unknown health policy', { loadBalancing: { healthPolicy: 2 as never } }, /health_policy .* 2/],
    ['an unknown family', { ipFamilies: 4 as never }, /ip_families .* 4/],
    ['a weighted waypoint without destination', { weightedWaypoints: [{ weight: 1 }] }, /no destination/],
    ['a waypoint without destination', { waypoint: { hboneMtlsPort: 1 } }, /waypoint has no destination/],
  ];
  for (const [what, message, reason] of rejections) {
    test(`STA-04: ${what} rejects the service`, () => assertRejected(message, reason));
  }

  test('an absent load balancing is undefined, a present one is converted', () => {
    assert.equal(convert({}).loadBalancer, undefined);
    assert.deepEqual(
      convert({ loadBalancing: { routingPreference: [6, 1, 2, 3, 4, 5], mode: 2, healthPolicy: 1 } })
        .loadBalancer,
      {
        routingPreferences: ['Network', 'Region', 'Zone', 'Subzone', 'Node', 'Cluster'],
        mode: 'Failover',
        healthPolicy: 'AllowAll',
      },
    );
  });

  test('visibility defaults to public; IP families and canonical are converted', () => {
    assert.equal(convert({ visibility: 9 as never }).visibility, 'Public');
    assert.equal(convert({ visibility: 1 }).visibility, 'Namespace');
    assert.equal(convert({}).ipFamilies, undefined);
    assert.equal(convert({ ipFamilies: 3 }).ipFamilies, 'Dual');
    assert.equal(convert({ canonical: true }).canonical, true);
  });
});
