import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Dialer } from '@kmesh/lab/testing/kernel/dialer.ts';
import {
  createPodNamespace,
  service,
  startKernelPath,
  workload,
} from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { MeshState } from '@kmesh/orchestration';

const ECONNREFUSED = 111;
const SERVICES = 500;

test('the programs find every key of a table at its maximum load, and no other', async () => {
  const view = new MeshState();
  await using path = await startKernelPath({
    view,
    programs: ['kmesh_connect4', 'kmesh_connect6'],
    capacities: { frontends: 1024 },
  });
  using pod = createPodNamespace();
  const dialer = new Dialer(pod);
  await using stack = new AsyncDisposableStack();
  stack.defer(() => dialer.close());
  const client = workload({
    uid: 'client',
    addresses: ['10.99.0.1'],
    node: 'node-1',
    clusterId: 'Kubernetes',
  });
  // Not consecutive: the hash is linear, and in so small a table about one in a thousand hash keys puts consecutive
  // addresses into few slots.
  const addresses = Array.from({ length: SERVICES }, (_, index) => {
    const [a, b, c] = createHash('sha256').update(`${index}`).digest();
    return index % 2 === 0
      ? `10.${a}.${b}.${c}`
      : `fd00::${a?.toString(16)}:${b?.toString(16)}:${index.toString(16)}`;
  });
  // Without endpoints a found address is refused. Two entries each: of the port and of the address.
  const updates = addresses.map((ip, index) => ({
    kind: 'service' as const,
    service: service({ hostname: `s${index}`, vips: [{ network: '', ip }], ports: new Map([[80, 8080]]) }),
  }));
  await path.tables.apply(view.apply([{ kind: 'workload', workload: client }, ...updates]));
  assert.equal(path.tables.enrol(pod.cookie, client, false), true);
  const usage = path.tables.usage().find(({ table }) => table === 'frontends');
  assert.deepEqual({ ...usage }, { table: 'frontends', used: 1001, capacity: 1024, refused: {} });

  for (const port of [80, 81]) {
    const answers = await dialer.dial(addresses.map((ip) => ({ ip, port, count: 1 })));
    for (const [index, answer] of answers.entries())
      assert.deepEqual(answer, [{ errno: ECONNREFUSED }], `${addresses[index]} port ${port}`);
  }
  const [left] = await dialer.dial([{ ip: '10.7.7.7', port: 80, count: 1 }]);
  assert.deepEqual(left, [{ ip: '10.7.7.7', port: 80 }]);
});
