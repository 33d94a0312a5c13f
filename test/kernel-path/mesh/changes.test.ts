import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab, type DialReport, keyOf, serviceOf, startKernelMesh, workloadOf } from '@kmesh/lab';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';

const CHANGES = repetitions({ ci: 250, full: 1_000 });

/** Returns numbers below `bound`, the same in every run. */
function drawing(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/** Answers of endpoints that were not in the mesh between the connect and the next change. */
function strayAnswers(report: DialReport, endpointsAfter: readonly ReadonlySet<string>[]): unknown[] {
  return report.byEpoch.filter(
    ({ epoch, endpoint }) =>
      !endpointsAfter[epoch]?.has(endpoint) && !endpointsAfter[epoch + 1]?.has(endpoint),
  );
}

test(`${CHANGES} endpoint changes while 64 clients dial: no connection fails or reaches an endpoint whose removal was acknowledged`, async (context) => {
  await using lab = await createLab();
  const node = await lab.node();
  await using mesh = await startKernelMesh(lab);
  const clients = [await node.pod({ name: 'client-a' }), await node.pod({ name: 'client-b' })];
  const service = serviceOf({ name: 'shop', vips: lab.serviceAddress(), ports: { 80: 0 } });
  await mesh.apply(service);
  await mesh.enrol(...clients);

  const members = [];
  for (let index = 0; index < 4; index++) {
    const pod = await node.pod({ name: `server${index}` });
    for (let port = 8000; port < 8004; port++) {
      const name = `${pod.name}-${port}`;
      await pod.serve({ port, name });
      const workload = (capacity: number) =>
        workloadOf(pod, { uid: name, name, capacity, services: { [keyOf(service)]: { 80: port } } });
      members.push({ name, workload });
    }
  }
  const [first, ...others] = members;
  assert.ok(first !== undefined);
  await mesh.apply(first.workload(1));
  const weights = new Map([[first.name, 1]]);
  const endpointsAfter: Set<string>[] = [new Set(weights.keys())];

  const to = service.vips.map(({ ip }) => (ip.includes(':') ? `[${ip}]:80` : `${ip}:80`));
  const dialings = clients.map((client) => client.startDialing({ to, connections: 0, concurrency: 32 }));
  const draw = drawing(7);
  const started = performance.now();
  for (let change = 1; change <= CHANGES; change++) {
    const member = others[draw(others.length)] ?? first;
    const weight = weights.has(member.name) && draw(2) === 0 ? undefined : draw(5);
    if (weight === undefined) await mesh.apply({ kind: 'removeWorkload', uid: member.name });
    else await mesh.apply(member.workload(weight));
    if (weight === undefined) weights.delete(member.name);
    else weights.set(member.name, weight);
    endpointsAfter.push(new Set([...weights].filter(([, share]) => share > 0).map(([name]) => name)));
    await Promise.all(dialings.map((dialing) => dialing.epoch(change)));
  }
  const reports = await Promise.all(dialings.map((dialing) => dialing.stop()));
  const connections = reports.reduce((sum, report) => sum + report.connections, 0);
  context.diagnostic(
    `${connections} connections, ${((performance.now() - started) / CHANGES).toFixed(2)} ms per change`,
  );
  for (const report of reports) {
    assert.deepEqual(report.failures, []);
    assert.equal(report.wrongPeer, 0);
    assert.deepEqual(strayAnswers(report, endpointsAfter), []);
    assert.equal(
      Object.keys(report.byEndpoint).length,
      members.length,
      'every endpoint was in the mesh for some time',
    );
  }
  assert.ok(connections > 10 * CHANGES, `${connections} connections are too few`);
  assert.deepEqual(Object.keys(mesh.decisions()), ['kernelBalanced']);
});
