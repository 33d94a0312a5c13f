import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Workload } from '@kmesh/api';
import { MeshState, waitForWorkload } from '../../src/state/mesh-state.ts';
import { memberOf, mesh, policy, service, updatesOf, vip, workload } from '../fixtures.ts';

const SERVICE = 'ns/a.example.com';
const uidsOf = (state: MeshState, key = SERVICE) => [...state.endpoints(key).keys()].sort();

describe('workloads by address', () => {
  const ip = { addresses: ['10.0.0.1'] };
  const cases: [string, Workload, Workload][] = [
    [
      'a pod before a ServiceEntry with HBONE',
      workload('c//Pod/ns/p', ip),
      workload('c/se', { ...ip, protocol: 'HBONE' }),
    ],
    [
      'an HBONE pod before a plain pod',
      workload('c//Pod/ns/h', { ...ip, protocol: 'HBONE' }),
      workload('c//Pod/ns/p', ip),
    ],
    ['HBONE over nothing', workload('c/hbone', { ...ip, protocol: 'HBONE' }), workload('c/plain', ip)],
  ];
  for (const [title, winner, loser] of cases) {
    for (const order of ['winner first', 'loser first']) {
      test(`STA-05: ${title} (${order}), and removal restores the other`, () => {
        const state = mesh(...(order === 'winner first' ? [winner, loser] : [loser, winner]));
        assert.equal(state.workloadByAddress('', '10.0.0.1'), winner);
        const change = state.apply([{ kind: 'removeWorkload', uid: winner.uid }]);
        assert.equal(state.workloadByAddress('', '10.0.0.1'), loser);
        assert.deepEqual([...change.addresses], ['/10.0.0.1']);
        state.apply([{ kind: 'removeWorkload', uid: loser.uid }]);
        assert.equal(state.workloadByAddress('', '10.0.0.1'), undefined);
      });
    }
  }

  test('STA-05: among equals the newest is chosen, and an update of the older one changes nothing', () => {
    const [old, young] = [workload('c//Pod/ns/old', ip), workload('c//Pod/ns/young', ip)];
    const state = mesh(old, young);
    state.apply(updatesOf({ ...old, status: 'Unhealthy' }));
    assert.equal(state.workloadByAddress('', '10.0.0.1')?.uid, young.uid);
  });

  test('STA-06: a host-network workload is found by uid and not by address', () => {
    const state = mesh(workload('host', { ...ip, networkMode: 'HostNetwork' }));
    assert.equal(state.workloadByAddress('', '10.0.0.1'), undefined);
    assert.equal(state.workload('host')?.uid, 'host');
  });

  test('addresses that an update drops are not found, and networks are separate', () => {
    const state = mesh(workload('w', { addresses: ['10.0.0.1', '10.0.0.2'], network: 'n1' }));
    state.apply(updatesOf(workload('w', { addresses: ['10.0.0.2'], network: 'n2' })));
    assert.equal(state.workloadByAddress('n1', '10.0.0.1'), undefined);
    assert.equal(state.workloadByAddress('n1', '10.0.0.2'), undefined);
    assert.equal(state.workloadByAddress('n2', '10.0.0.2')?.uid, 'w');
  });
});

describe('endpoints', () => {
  const healthy = workload('healthy', { services: memberOf('a') });
  const unhealthy = workload('unhealthy', { services: memberOf('a'), status: 'Unhealthy' });
  const allowAll = service('a', {
    loadBalancer: { mode: 'Standard', routingPreferences: [], healthPolicy: 'AllowAll' },
  });

  test('STA-07: workloads before their service are staged, appear with it, and pass the health filter', () => {
    const state = mesh(healthy, unhealthy);
    assert.deepEqual(uidsOf(state), []);
    assert.deepEqual([...(state.stagedEndpoints().get(SERVICE)?.keys() ?? [])], ['healthy', 'unhealthy']);
    const change = state.apply(updatesOf(service('a')));
    assert.deepEqual(uidsOf(state), ['healthy']);
    assert.equal(state.stagedEndpoints().size, 0);
    assert.ok(change.services.has(SERVICE));
  });

  test('STA-08: a removed staged endpoint never becomes an endpoint, and its staging entry is dropped', () => {
    const state = mesh(healthy);
    state.apply([{ kind: 'removeWorkload', uid: 'healthy' }]);
    assert.equal(state.stagedEndpoints().size, 0);
    state.apply(updatesOf(service('a')));
    assert.deepEqual(uidsOf(state), []);
  });

  test('STA-09: unhealthy workloads are dropped, and kept under ALLOW_ALL', () => {
    assert.deepEqual(uidsOf(mesh(service('a'), healthy, unhealthy)), ['healthy']);
    assert.deepEqual(uidsOf(mesh(allowAll, healthy, unhealthy)), ['healthy', 'unhealthy']);
  });

  test('STA-09: a service that changes to ALLOW_ALL and back gets its unhealthy endpoints at once and loses them', () => {
    const state = mesh(service('a'), healthy, unhealthy);
    state.apply(updatesOf(allowAll));
    assert.deepEqual(uidsOf(state), ['healthy', 'unhealthy']);
    state.apply(updatesOf(service('a')));
    assert.deepEqual(uidsOf(state), ['healthy']);
  });

  test('STA-10: an endpoint that becomes unhealthy is removed, and added again once healthy', () => {
    const state = mesh(service('a'), healthy);
    state.apply(updatesOf({ ...healthy, status: 'Unhealthy' }));
    assert.deepEqual(uidsOf(state), []);
    state.apply(updatesOf(healthy));
    assert.deepEqual(uidsOf(state), ['healthy']);
  });

  test('STA-11: removal and re-insert of one workload in one push leave the new endpoint', () => {
    const state = mesh(service('a'), healthy);
    const next = workload('healthy', { services: memberOf('a', [[80, 9090]]) });
    state.apply([{ kind: 'removeWorkload', uid: 'healthy' }, ...updatesOf(next)]);
    assert.equal(state.endpoints(SERVICE).get('healthy')?.ports.get(80), 9090);
  });

  test('STA-12: an updated service keeps its endpoints', () => {
    const state = mesh(service('a'), healthy);
    state.apply(updatesOf(service('a', { ports: new Map([[81, 8081]]) })));
    assert.deepEqual(uidsOf(state), ['healthy']);
  });

  test('a removed service loses its endpoints until their workloads are sent again', () => {
    const state = mesh(service('a'), healthy);
    state.apply([{ kind: 'removeService', key: SERVICE }]);
    assert.equal(state.stagedEndpoints().size, 0);
    state.apply(updatesOf(service('a')));
    assert.deepEqual(uidsOf(state), []);
    state.apply(updatesOf(healthy));
    assert.deepEqual(uidsOf(state), ['healthy']);
  });

  test('a workload that leaves a service is no longer its endpoint', () => {
    const state = mesh(service('a'), service('b'), healthy);
    const change = state.apply(updatesOf({ ...healthy, services: memberOf('b') }));
    assert.deepEqual(uidsOf(state), []);
    assert.deepEqual(uidsOf(state, 'ns/b.example.com'), ['healthy']);
    assert.deepEqual([...change.services].sort(), [SERVICE, 'ns/b.example.com']);
  });

  test('XDS-18: 1000 workloads for one service in one batch re-index the service once', () => {
    const state = mesh(service('a'));
    const before = state.serviceGeneration(SERVICE);
    const heard: string[][] = [];
    state.subscribe((change) => heard.push([...change.services]));
    const workloads = Array.from({ length: 1000 }, (_, index) =>
      workload(`w${index}`, { services: memberOf('a') }),
    );
    state.apply(updatesOf(...workloads));
    assert.equal(state.endpoints(SERVICE).size, 1000);
    assert.equal(state.serviceGeneration(SERVICE), before + 1);
    assert.deepEqual(heard, [[SERVICE]]);
  });
});

describe('policies', () => {
  test('STA-19: a policy is found where its scope says, through every change of scope', () => {
    const state = new MeshState();
    const rules: [] = [];
    state.apply(updatesOf(policy('p', rules)));
    assert.deepEqual(
      state.policiesOfNamespace('ns').map(({ name }) => name),
      ['p'],
    );
    state.apply(updatesOf(policy('p', rules, { scope: 'WorkloadSelector' })));
    assert.deepEqual(state.policiesOfNamespace('ns'), []);
    assert.equal(state.policy('ns/p')?.scope, 'WorkloadSelector');
    state.apply(updatesOf(policy('p', rules, { scope: 'Global' })));
    assert.deepEqual(state.policiesOfNamespace('ns'), []);
    assert.deepEqual(
      state.policiesOfNamespace('').map(({ name }) => name),
      ['p'],
    );
    const change = state.apply([{ kind: 'removePolicy', key: 'ns/p' }]);
    assert.deepEqual(state.policiesOfNamespace(''), []);
    assert.deepEqual([...change.policies], ['ns/p']);
  });
});

describe('other lookups', () => {
  test('local workloads are those of the node; without a node all are', () => {
    const updates = updatesOf(workload('here', { node: 'n1' }), workload('there', { node: 'n2' }));
    const named = new MeshState({ node: 'n1' });
    named.apply(updates);
    assert.equal(named.localWorkload('ns', 'default', 'here')?.uid, 'here');
    assert.equal(named.localWorkload('ns', 'default', 'there'), undefined);
    const unnamed = new MeshState();
    unnamed.apply(updates);
    assert.equal([...unnamed.localWorkloads()].length, 2);
    unnamed.apply([{ kind: 'removeWorkload', uid: 'here' }]);
    assert.equal(unnamed.localWorkload('ns', 'default', 'here'), undefined);
  });

  test('of local workloads with one name, that of the own cluster is found, then a pod, then the first', () => {
    const name = 'web-0';
    const own = workload('c//Pod/ns/web-0', { name, clusterId: 'c' });
    const entry = workload('c/networking.istio.io/WorkloadEntry/ns/web-0', { name, clusterId: 'c' });
    const others = ['a', 'b'].map((clusterId) => workload(`${clusterId}//Pod/ns/web-0`, { name, clusterId }));
    const ranked = [own, entry, ...others];
    for (const order of [ranked, [...ranked].reverse()]) {
      const state = new MeshState({ clusterId: 'c' });
      const found = () => state.localWorkload('ns', 'default', name)?.uid;
      state.apply(updatesOf(...order));
      assert.equal(found(), own.uid);
      state.apply(updatesOf({ ...entry, status: 'Unhealthy' }, ...others));
      assert.equal(found(), own.uid, 'after updates of the others');
      state.apply([{ kind: 'removeWorkload', uid: own.uid }]);
      assert.equal(found(), entry.uid);
      state.apply([{ kind: 'removeWorkload', uid: entry.uid }]);
      const [first, second] = others.toSorted((left, right) => order.indexOf(left) - order.indexOf(right));
      assert.equal(found(), first?.uid);
      state.apply([{ kind: 'removeWorkload', uid: first?.uid ?? '' }]);
      assert.equal(found(), second?.uid);
      state.apply(updatesOf({ ...(second as Workload), name: 'web-1' }));
      assert.equal(found(), undefined);
      assert.equal([...state.localWorkloads()].length, 1);
    }
  });

  test('a hostname is found in every namespace, and removed with its service', () => {
    const state = mesh(service('a'), service('a', { namespace: 'other' }));
    assert.deepEqual(
      state.servicesByHostname('a.example.com').map(({ namespace }) => namespace),
      ['ns', 'other'],
    );
    state.apply([{ kind: 'removeService', key: SERVICE }]);
    assert.deepEqual(
      state.servicesByHostname('a.example.com').map(({ namespace }) => namespace),
      ['other'],
    );
  });

  test('an updated service keeps its place among those with the same VIP', () => {
    const first = service('a', { vips: [vip('10.1.0.1')] });
    const state = mesh(first, service('b', { vips: [vip('10.1.0.1')] }));
    state.apply(updatesOf({ ...first, canonical: true }));
    assert.deepEqual(
      state.servicesByVip('', '10.1.0.1').map(({ name }) => name),
      ['a', 'b'],
    );
  });
});

describe('waiting for the own workload', () => {
  test('STA-21: present at once, after one second, or failed after five', async (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const state = mesh(workload('present'));
    const wait = (uid: string) => waitForWorkload(state, () => state.workload(uid), { description: uid });

    assert.equal((await wait('present')).uid, 'present');

    const late = wait('late');
    context.mock.timers.tick(1_000);
    state.apply(updatesOf(workload('other')));
    state.apply(updatesOf(workload('late')));
    assert.equal((await late).uid, 'late');

    const never = wait('never');
    let settled = false;
    never.catch(() => {
      settled = true;
    });
    context.mock.timers.tick(4_999);
    await Promise.resolve();
    assert.equal(settled, false);
    context.mock.timers.tick(1);
    await assert.rejects(never, { code: 'KMESH_WORKLOAD_UNKNOWN' });
  });
});
