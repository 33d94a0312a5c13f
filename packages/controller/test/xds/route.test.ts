import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { routeProto } from '@kmesh/api';
import { convertRoute } from '../../src/xds/convert/route.ts';
import { type Bytes, field, message, text, varint } from './support/wire.ts';

const typeUrl = 'type.googleapis.com/istio.networking.v1alpha3.VirtualService';

/** Converts a `VirtualService` from its bytes; a route of the Gateway API has its annotation. */
function convert(spec: Bytes, isGatewayApi = false) {
  const annotations = isGatewayApi ? { 'internal.istio.io/route-semantics': 'gateway' } : {};
  const payload = routeProto.Resource.encode({
    metadata: { name: 'default/split', annotations },
    body: { typeUrl, value: Buffer.concat([field(1, text('shop')), spec]) },
  });
  return convertRoute(payload, 'default/split', 'cluster.local');
}

/** `Destination{host, port{number}}` with its weight: `RouteDestination` and `HTTPRouteDestination`. */
function destination(host: string, weight: number, port?: number): Bytes {
  const selector = port === undefined ? [] : [field(3, message(field(1, varint(port))))];
  const shares = weight === 0 ? [] : [field(2, varint(weight))];
  return field(2, message(field(1, message(field(1, text(host)), ...selector)), ...shares));
}

const toV1 = destination('v1', 1);
const http = (...parts: Bytes[]) => field(3, message(...parts));
const tcp = (...parts: Bytes[]) => field(4, message(...parts));
const entry = message(field(1, text('key')), field(2, text('value')));
const v1 = { hostname: 'v1.default.svc.cluster.local', port: undefined, weight: 1 };

describe('supported routes', () => {
  test('weights, ports and client namespaces are read by the public field numbers', () => {
    const match = field(1, message(field(2, varint(80)), field(6, text('a'))));
    const route = convert(
      Buffer.concat([tcp(match, destination('v1', 9), destination('v2.x', 1, 81)), field(6, text('.'))]),
    );
    assert.deepEqual(route, {
      namespace: 'default',
      name: 'split',
      hosts: ['shop.default.svc.cluster.local'],
      exportTo: ['.'],
      isGatewayApi: false,
      createdAt: 0,
      tcp: [
        {
          matches: [{ port: 80, sourceNamespace: 'a' }],
          backends: [
            { ...v1, weight: 9 },
            { hostname: 'v2.x', port: 81, weight: 1 },
          ],
        },
      ],
      http: undefined,
      unsupported: undefined,
    });
  });

  test('a single destination gets all connections, whatever its weight', () => {
    for (const isGatewayApi of [true, false]) {
      const route = convert(
        Buffer.concat([tcp(destination('v1', 0)), http(destination('v1', 0))]),
        isGatewayApi,
      );
      assert.deepEqual(route.tcp, [{ matches: [], backends: [v1] }]);
      assert.deepEqual(route.http, [{ matches: [], backends: [v1] }]);
    }
  });

  test('a route whose weights are all 0, as istiod writes it, refuses every connection', () => {
    const sentinel = field(
      2,
      message(field(1, message(field(1, text('internal.cluster.local')), field(2, text('zero-weight'))))),
    );
    assert.deepEqual(convert(tcp(sentinel), true).tcp, [{ matches: [], backends: [] }]);
    const fixedAnswer = field(21, message(field(1, varint(500))));
    assert.deepEqual(convert(http(fixedAnswer), true).http, [{ matches: [], backends: [] }]);
  });

  test('a direct response that a user configured, or beside destinations, is not treated as weights of 0', () => {
    const fixedAnswer = field(21, message(field(1, varint(503))));
    assert.equal(convert(http(fixedAnswer)).unsupported, 'http.directResponse');
    assert.equal(convert(http(fixedAnswer, toV1), true).unsupported, 'http.directResponse');
  });

  test('rules and matches of gateways are ignored, those of the mesh are not', () => {
    const forGateway = field(1, message(field(8, text('ingress')), field(2, message(field(1, text('GET'))))));
    const forMesh = field(1, message(field(8, text('mesh'))));
    const route = convert(Buffer.concat([http(forGateway, toV1), http(forGateway, forMesh, toV1)]));
    assert.deepEqual(route.http, [{ matches: [{}], backends: [v1] }]);
    const ingress = convert(Buffer.concat([field(2, text('ingress')), http(forGateway, toV1)]));
    assert.deepEqual([ingress.hosts, ingress.unsupported], [[], 'it is for gateways']);
    const both = convert(Buffer.concat([field(2, text('ingress')), http(forMesh, toV1)]));
    assert.deepEqual(both.hosts, ['shop.default.svc.cluster.local']);
  });

  test('a negative weight, a port above 65535 and an unknown body are rejected', () => {
    assert.throws(() => convert(tcp(destination('v1', -1), toV1)), /negative/);
    assert.throws(() => convert(tcp(destination('v1', 1, 65_536))), /above 65535/);
    const other = routeProto.Resource.encode({ body: { typeUrl: 'a/b' } });
    assert.throws(() => convertRoute(other, 'default/split', 'cluster.local'), /has the type a\/b/);
    assert.throws(() => convertRoute(other, 'split', 'cluster.local'), /namespace\/name/);
  });
});

/** A field of the public API: its number, name, an example, and the result for a route that has it. */
type PublicField = readonly [number: number, name: string, value: Bytes, becomes: string];

const applied = 'applied';
const some = message();
const string = message(field(1, text('x')));

/**
 * Every public field of `istio.networking.v1.VirtualService` and of the messages that it uses, without reserved
 * numbers.
 */
const walk: Readonly<
  Record<string, { readonly put: (value: Bytes) => Bytes; readonly fields: readonly PublicField[] }>
> = {
  VirtualService: {
    put: (value) => Buffer.concat([tcp(toV1), value]),
    fields: [
      [1, 'hosts', text('other'), applied],
      [2, 'gateways', text('mesh'), applied],
      [3, 'http', message(toV1), applied],
      [4, 'tcp', message(toV1), applied],
      [5, 'tls', message(toV1), 'it has rules for TLS server names (tls)'],
      [6, 'export_to', text('*'), applied],
      [7, '(a field of a later version)', some, 'it has a field that this version does not know'],
    ],
  },
  HTTPRoute: {
    put: (value) => http(toV1, value),
    fields: [
      [1, 'match', message(field(6, varint(80))), applied],
      [2, 'route', message(field(1, message(field(1, text('v2')))), field(2, varint(1))), applied],
      [3, 'redirect', some, 'http.redirect'],
      [4, 'rewrite', some, 'http.rewrite'],
      [6, 'timeout', some, 'http.timeout'],
      [7, 'retries', some, 'http.retries'],
      [8, 'fault', some, 'http.fault'],
      [9, 'mirror', some, 'http.mirror'],
      [10, 'cors_policy', some, 'http.corsPolicy'],
      [16, 'headers', some, 'http.headers'],
      [17, 'name', text('one'), applied],
      [18, 'mirror_percent', some, 'http.mirrorPercent'],
      [19, 'mirror_percentage', some, 'http.mirrorPercentage'],
      [20, 'delegate', some, 'http.delegate'],
      [21, 'direct_response', some, 'http.directResponse'],
      [22, 'mirrors', some, 'http.mirrors'],
      [23, '(a field of a later version)', some, 'http has a field that this version does not know'],
    ],
  },
  HTTPMatchRequest: {
    put: (value) => http(field(1, message(value)), toV1),
    fields: [
      [1, 'uri', message(field(2, text('/'))), applied],
      [1, 'uri', message(field(2, text('/a'))), 'http.match.uri'],
      [1, 'uri', message(field(1, text('/'))), 'http.match.uri'],
      [1, 'uri', message(field(3, text('/'))), 'http.match.uri'],
      [2, 'scheme', string, 'http.match.scheme'],
      [3, 'method', string, 'http.match.method'],
      [4, 'authority', string, 'http.match.authority'],
      [5, 'headers', entry, 'http.match.headers'],
      [6, 'port', varint(80), applied],
      [7, 'source_labels', entry, 'http.match.sourceLabels'],
      [8, 'gateways', text('mesh'), applied],
      [9, 'query_params', entry, 'http.match.queryParams'],
      [10, 'ignore_uri_case', varint(1), applied],
      [11, 'name', text('one'), applied],
      [12, 'without_headers', entry, 'http.match.withoutHeaders'],
      [13, 'source_namespace', text('a'), applied],
      [14, 'stat_prefix', text('a'), applied],
      [15, '(a field of a later version)', some, 'http.match has a field that this version does not know'],
    ],
  },
  HTTPRouteDestination: {
    put: (value) => http(field(2, message(field(1, message(field(1, text('v1')))), value))),
    fields: [
      [1, 'destination', message(field(1, text('v1'))), applied],
      [2, 'weight', varint(1), applied],
      [7, 'headers', some, 'http.route.headers'],
      [8, '(a field of a later version)', some, 'http.route has a field that this version does not know'],
    ],
  },
  TCPRoute: {
    put: (value) => tcp(toV1, value),
    fields: [
      [1, 'match', message(field(2, varint(80))), applied],
      [2, 'route', message(field(1, message(field(1, text('v2')))), field(2, varint(1))), applied],
      [3, '(a field of a later version)', some, 'tcp has a field that this version does not know'],
    ],
  },
  L4MatchAttributes: {
    put: (value) => tcp(field(1, message(value)), toV1),
    fields: [
      [1, 'destination_subnets', text('10.0.0.0/8'), 'tcp.match.destinationSubnets'],
      [2, 'port', varint(80), applied],
      [3, 'source_subnet', text('10.0.0.0/8'), 'tcp.match.sourceSubnet'],
      [4, 'source_labels', entry, 'tcp.match.sourceLabels'],
      [5, 'gateways', text('mesh'), applied],
      [6, 'source_namespace', text('a'), applied],
      [7, '(a field of a later version)', some, 'tcp.match has a field that this version does not know'],
    ],
  },
  RouteDestination: {
    put: (value) => tcp(field(2, message(field(1, message(field(1, text('v1')))), value))),
    fields: [
      [1, 'destination', message(field(1, text('v1'))), applied],
      [2, 'weight', varint(1), applied],
      [3, '(a field of a later version)', some, 'tcp.route has a field that this version does not know'],
    ],
  },
  Destination: {
    put: (value) => tcp(field(2, message(field(1, message(value))))),
    fields: [
      [1, 'host', text('v1'), applied],
      [2, 'subset', text('v1'), 'tcp.route.destination.subset'],
      [3, 'port', message(field(1, varint(80))), applied],
      [
        3,
        'port',
        message(field(3, some)),
        'tcp.route.destination.port has a field that this version does not know',
      ],
      [
        4,
        '(a field of a later version)',
        some,
        'tcp.route.destination has a field that this version does not know',
      ],
    ],
  },
};

describe('a route is applied only if every one of its fields is supported', () => {
  for (const [name, { put, fields }] of Object.entries(walk)) {
    for (const [number, fieldName, value, becomes] of fields) {
      test(`${name}.${fieldName} (${number}): ${becomes}`, () => {
        const route = convert(put(field(number, value)));
        assert.equal(route.unsupported ?? applied, becomes);
        if (becomes === applied) return;
        assert.deepEqual([...(route.tcp ?? []), ...(route.http ?? [])], [], 'nothing of it is applied');
      });
    }
  }

  test('an unsupported HTTP rule makes the TCP rules unsupported, and vice versa', () => {
    const rewrite = field(4, some);
    const subnet = field(1, message(field(3, text('10.0.0.0/8'))));
    for (const spec of [
      [http(toV1, rewrite), tcp(toV1)],
      [http(toV1), tcp(toV1, subnet)],
    ]) {
      const route = convert(Buffer.concat(spec));
      assert.match(route.unsupported ?? '', /^(http\.rewrite|tcp\.match\.sourceSubnet)$/);
      assert.deepEqual([route.tcp, route.http], [[], []]);
    }
  });

  test('a host with a wildcard makes the route unsupported', () => {
    const route = convert(Buffer.concat([field(1, text('*.default.svc.cluster.local')), tcp(toV1)]));
    assert.equal(route.unsupported, 'its host *.default.svc.cluster.local is a wildcard');
  });
});
