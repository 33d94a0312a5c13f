import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeRecord } from '@kmesh/api/testing';
import type { OutboundDecision } from '../../src/routing/decision.ts';
import { resolveOutbound } from '../../src/routing/outbound.ts';
import { routeOf } from '../../src/routing/route.ts';
import { formatRoutePick } from '../../src/routing/route-draw.ts';
import { MeshState } from '../../src/state/mesh-state.ts';
import { gateway, memberOf, service, updatesOf, vip, workload } from '../fixtures.ts';

const source = workload('source', { addresses: ['10.0.0.1'] });
const shop = service('shop', { vips: [vip('10.1.0.1')] });
const behind = service('behind', { vips: [vip('10.1.0.2')], waypoint: gateway('/10.0.0.9') });
const hostnames = ['v1', 'v2', 'empty', 'behind'].map((name) => `${name}.example.com`);

function meshOf(weights: readonly number[]): MeshState {
  const state = new MeshState();
  state.apply(
    updatesOf(
      ...[source, shop, service('v1'), service('v2'), service('empty'), behind],
      workload('one', { addresses: ['10.0.1.1'], services: memberOf('v1'), protocol: 'TCP' }),
      workload('two', { addresses: ['10.0.1.2'], services: memberOf('v2', [[80, 9090]]), protocol: 'TCP' }),
      workload('waypoint', { addresses: ['10.0.0.9'] }),
    ),
  );
  const backends = weights.map((weight, index) => ({ hostname: hostnames[index] ?? '', weight }));
  state.apply([{ kind: 'route', route: routeRecord({ hosts: [shop.hostname], namespace: 'ns' }, backends) }]);
  return state;
}

function dial(state: MeshState, random: number, pick?: string): OutboundDecision {
  const request = { source, clientIp: '10.0.0.1', destination: { ip: '10.1.0.1', port: 80 }, pick };
  return resolveOutbound(state, request, { random: () => random });
}

function text(decision: OutboundDecision): string {
  if (decision.kind === 'refused') return `refused: ${decision.message}`;
  if (decision.kind === 'resolveHostname') return 'resolve';
  const { ip, port } = decision.nextHop;
  return `${decision.kind} ${ip}:${port}${decision.kind === 'tcp' ? '' : ` ${decision.authority}`}`;
}

test('a connection goes to an endpoint of the drawn backend, under the name of the service dialled', () => {
  const state = meshOf([90, 10]);
  const first = dial(state, 0.89);
  const second = dial(state, 0.91);
  assert.deepEqual([first, second].map(text), ['tcp 10.0.1.1:8080', 'tcp 10.0.1.2:9090']);
  assert.equal(second.service, state.service('ns/shop.example.com'));
  assert.ok('route' in second);
  assert.deepEqual(second.route, { route: 'ns/split', service: shop, port: 80, backend: 'v2.example.com' });
});

test('the share of a backend without endpoints is refused, and is counted for that backend', () => {
  const decision = dial(meshOf([0, 0, 1]), 0.5);
  assert.match(
    text(decision),
    /^refused: Route ns\/split of service ns\/shop\.example\.com sends a share to backend ns\/empty/,
  );
  assert.ok(decision.kind === 'refused');
  assert.equal(decision.route?.backend, 'empty.example.com');
});

test('a backend with a waypoint is reached through it, by its own address', () => {
  assert.equal(text(dial(meshOf([0, 0, 0, 1]), 0.5)), 'hbone 10.0.0.9:15008 10.1.0.2:80');
});

test('an endpoint that was chosen before is not drawn again', () => {
  const state = meshOf([90, 10, 1]);
  assert.equal(text(dial(state, 0, 'two')), 'tcp 10.0.1.2:9090');
  const decision = routeOf(state, { service: shop, port: 80, clientNamespace: 'ns' });
  assert.ok(decision?.kind === 'applied');
  const empty = decision.backends.find(({ hostname }) => hostname === 'empty.example.com');
  assert.ok(empty);
  assert.match(text(dial(state, 0, formatRoutePick(empty, ''))), /^refused: .*backend ns\/empty/);
  assert.equal(text(dial(state, 0, 'of another time')), 'tcp 10.0.1.1:8080');
});
