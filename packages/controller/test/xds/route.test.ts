import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeProto } from '@kmesh/api';
import { convertRoute } from '../../src/xds/convert/route.ts';

const some = Buffer.from([]);
const destination = { host: 'v1' };

function convert(spec: routeProto.VirtualService) {
  const value = routeProto.VirtualService.encode({ hosts: ['shop'], ...spec });
  const typeUrl = 'type.googleapis.com/istio.networking.v1alpha3.VirtualService';
  return convertRoute(
    routeProto.Resource.encode({ body: { typeUrl, value } }),
    'default/split',
    'cluster.local',
  );
}

test('weights, ports and namespaces of clients are taken; short host names are completed', () => {
  const match = [{ port: 80, sourceNamespace: 'a' }];
  const route = convert({
    tcp: [
      {
        match,
        route: [
          { destination, weight: 9 },
          { destination: { host: 'v2.x' }, weight: 1 },
        ],
      },
    ],
  });
  assert.deepEqual(route.hosts, ['shop.default.svc.cluster.local']);
  assert.deepEqual(route.tcp, {
    rules: [
      {
        matches: match,
        backends: [
          { hostname: 'v1.default.svc.cluster.local', port: undefined, weight: 9 },
          { hostname: 'v2.x', port: undefined, weight: 1 },
        ],
      },
    ],
  });
});

test('each HTTP field that is done to requests makes the section unsupported and is named', () => {
  const fields = [
    ...['redirect', 'rewrite', 'timeout', 'retries', 'fault', 'mirror', 'corsPolicy', 'headers'],
    ...['mirrorPercent', 'mirrorPercentage', 'delegate', 'directResponse'],
  ];
  for (const field of fields) {
    const { http } = convert({ http: [{ route: [{ destination }], [field]: some }] });
    assert.deepEqual(http, { unsupported: `http.${field}` });
  }
  for (const field of ['scheme', 'method', 'authority']) {
    const { http } = convert({ http: [{ match: [{ [field]: some }], route: [{ destination }] }] });
    assert.deepEqual(http, { unsupported: `http.match.${field}` });
  }
});

test('a subset, a subnet and TLS rules are unsupported; a negative weight is rejected', () => {
  const subset = { host: 'v1', subset: 'v2' };
  assert.match(convert({ tcp: [{ route: [{ destination: subset }] }] }).tcp?.unsupported ?? '', /subset/);
  const match = [{ sourceSubnet: '10.0.0.0/8' }];
  assert.match(
    convert({ tcp: [{ match, route: [{ destination }] }] }).tcp?.unsupported ?? '',
    /sourceSubnet/,
  );
  assert.match(convert({ tls: [some], tcp: [{ route: [{ destination }] }] }).tcp?.unsupported ?? '', /tls/);
  assert.throws(() => convert({ tcp: [{ route: [{ destination, weight: -1 }] }] }), /negative/);
});
