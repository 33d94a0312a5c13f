import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { MeshState } from '../../src/state/mesh-state.ts';
import { monotonicNanoseconds, RECORDS_KEPT } from '../../src/state/recent-records.ts';
import { mesh, service, updatesOf, workload } from '../fixtures.ts';

const address = { addresses: ['10.0.0.1'] };
const [first, second] = [workload('c//Pod/ns/first', address), workload('c//Pod/ns/second', address)];

/** The moment between two changes. */
function moment(): number {
  const before = monotonicNanoseconds();
  while (monotonicNanoseconds() <= before);
  return monotonicNanoseconds();
}

describe('recent records of the mesh', () => {
  test('an address that moves from one pod to another belongs to each pod during its time', () => {
    const state = new MeshState();
    state.apply(updatesOf(first));
    const atFirst = moment();
    state.apply([{ kind: 'removeWorkload', uid: first.uid }]);
    const between = moment();
    state.apply(updatesOf(second));
    const atLast = moment();
    assert.equal(state.workloadByAddressAt('', '10.0.0.1', atFirst), first);
    assert.equal(state.workloadAt(first.uid, atFirst), first);
    assert.equal(state.workloadAt(first.uid, between), undefined);
    assert.equal(state.workloadByAddressAt('', '10.0.0.1', atLast), second);
  });

  test('of several records of a workload the one of the requested time is found', () => {
    const state = mesh(first);
    const times = [moment()];
    for (const name of ['b', 'c']) {
      state.apply(updatesOf({ ...first, workloadName: name }));
      times.push(moment());
    }
    const names = times.map((time) => state.workloadAt(first.uid, time)?.workloadName);
    assert.deepEqual(names, [first.workloadName, 'b', 'c']);
  });

  test('an address that a preferred workload also had never belonged to the other one', () => {
    const loser = workload('c/plain', address);
    const winner = workload('c//Pod/ns/h', { ...address, protocol: 'HBONE' });
    const state = mesh(winner, loser);
    const before = moment();
    state.apply([{ kind: 'removeWorkload', uid: loser.uid }]);
    assert.equal(state.workloadByAddressAt('', '10.0.0.1', before), winner);
  });

  test('a removed service is known for a limited time, and every record is removed in the end', (context) => {
    context.mock.timers.enable({ apis: ['setTimeout'] });
    const removed = service('a.example.com', {});
    const key = `${removed.namespace}/${removed.hostname}`;
    const state = mesh(removed, first);
    const before = moment();
    const now = monotonicNanoseconds();
    state.apply([
      { kind: 'removeService', key },
      { kind: 'removeWorkload', uid: first.uid },
    ]);
    assert.equal(state.serviceAt(key, before), removed);
    const clock = mock.method(process.hrtime, 'bigint', () => BigInt(now + (RECORDS_KEPT + 1_000) * 1e6));
    context.mock.timers.tick(RECORDS_KEPT);
    clock.mock.restore();
    assert.equal(state.serviceAt(key, before), undefined);
    assert.equal(state.workloadAt(first.uid, before), undefined);
    assert.equal(state.workloadByAddressAt('', '10.0.0.1', before), undefined);
  });
});
