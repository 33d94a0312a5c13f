import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Workload, workloadProto } from '@kmesh/api';
import { Interner } from '../../../src/xds/convert/common.ts';
import { convertWorkload } from '../../../src/xds/convert/workload.ts';
import { assertRejects } from '../support/resources.ts';

const interner = new Interner();

function convert(message: workloadProto.Workload): Workload {
  const decoded = workloadProto.Workload.decode(workloadProto.Workload.encode(message));
  return convertWorkload(decoded, interner, 'resource name');
}

function assertRejected(message: workloadProto.Workload, reason: RegExp): void {
  assertRejects(() => convert(message), reason);
}

describe('conversion of workloads', () => {
  const lengths = [
    { length: 0, text: undefined },
    { length: 3, text: undefined },
    { length: 4, text: '9.9.9.9' },
    { length: 16, text: '909:909:909:909:909:909:909:909' },
    { length: 17, text: undefined },
  ];
  for (const { length, text } of lengths) {
    test(`STA-01: an address of ${length} bytes is ${text === undefined ? 'rejected' : 'accepted'}`, () => {
      const message = { addresses: [new Uint8Array(length).fill(9)] };
      if (text === undefined) assertRejected(message, new RegExp(`address has ${length} bytes, not 4 or 16`));
      else assert.deepEqual(convert(message).addresses, [text]);
    });
  }

  test('STA-01: unspecified, loopback and IPv4-mapped addresses are canonical text', () => {
    const loopback6 = new Uint8Array(16);
    loopback6[15] = 1;
    const mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 7);
    const addresses = [new Uint8Array(4), new Uint8Array(16), Uint8Array.of(127, 0, 0, 1), loopback6, mapped];
    assert.deepEqual(convert({ addresses }).addresses, ['0.0.0.0', '::', '127.0.0.1', '::1', '10.0.0.7']);
  });

  test('STA-02: a sidecar tunnel and an unknown tunnel are rejected', () => {
    assertRejected({ tunnelProtocol: 2 }, /tunnel_protocol has the unsupported value 2/);
    assertRejected({ tunnelProtocol: 9 as never }, /tunnel_protocol has the unsupported value 9/);
    assert.equal(convert({ tunnelProtocol: 1 }).protocol, 'HBONE');
    assert.equal(convert({}).protocol, 'TCP');
  });

  test('STA-03: what the sender leaves out has its stated value', () => {
    const { trustDomain, serviceAccount, clusterId, capacity } = convert({});
    assert.deepEqual(
      { trustDomain, serviceAccount, clusterId, capacity },
      { trustDomain: 'cluster.local', serviceAccount: 'default', clusterId: 'Kubernetes', capacity: 1 },
    );
    assert.equal(convert({ capacity: { value: 0 } }).capacity, 0);
    assert.equal(convert({ capacity: {} }).capacity, 0);
    assert.equal(convert({ capacity: { value: 5 } }).capacity, 5);
  });

  test('STA-04: a gateway without destination and a service key without a slash are rejected', () => {
    assertRejected({ waypoint: { hboneMtlsPort: 15008 } }, /^waypoint has no destination/);
    assertRejected({ networkGateway: {} }, /^network_gateway has no destination/);
    assertRejected({ services: { 'no-slash': {} } }, /services key "no-slash" is not namespace\/hostname/);
  });

  test('STA-10: health is taken from the status, and an unknown one is rejected', () => {
    assert.equal(convert({}).status, 'Healthy');
    assert.equal(convert({ status: 1 }).status, 'Unhealthy');
    assertRejected({ status: 2 as never }, /status has the unsupported value 2/);
  });

  test('unknown network modes and application tunnels are rejected, unknown workload types are deployments', () => {
    assertRejected({ networkMode: 2 as never }, /network_mode/);
    assertRejected({ applicationTunnel: { protocol: 2 as never } }, /application_tunnel protocol/);
    assert.equal(convert({ workloadType: 99 as never }).workloadType, 'deployment');
    assert.deepEqual(convert({ applicationTunnel: { protocol: 1 } }).applicationTunnel, {
      protocol: 'PROXY',
      port: undefined,
    });
  });

  test('gateways of both forms are converted', () => {
    const address = { network: 'n2', address: Uint8Array.of(10, 1, 2, 3) };
    const { waypoint, networkGateway } = convert({
      waypoint: { hostname: { namespace: 'ns', hostname: 'w.ns' }, hboneMtlsPort: 15008 },
      networkGateway: { address, hboneMtlsPort: 15009 },
    });
    assert.deepEqual(waypoint, {
      destination: { kind: 'hostname', namespace: 'ns', hostname: 'w.ns' },
      hboneMtlsPort: 15008,
    });
    assert.deepEqual(networkGateway, {
      destination: { kind: 'address', network: 'n2', ip: '10.1.2.3' },
      hboneMtlsPort: 15009,
    });
  });

  test('ports are truncated to 16 bits, and equal parts of two workloads are one object', () => {
    const message = {
      services: { 'ns/a': { ports: [{ servicePort: 65_536 + 80, targetPort: 8080 }] } },
      locality: { region: 'r', zone: 'z' },
      authorizationPolicies: ['ns/p'],
    };
    const [first, second] = [convert(message), convert(message)];
    assert.deepEqual(first.services.get('ns/a'), new Map([[80, 8080]]));
    assert.equal(first.services, second.services);
    assert.equal(first.locality, second.locality);
    assert.equal(first.authorizationPolicies, second.authorizationPolicies);
  });
});
