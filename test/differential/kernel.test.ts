import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Workload } from '@kmesh/api';
import { Dialer, type DialResult } from '@kmesh/lab/testing/kernel/dialer.ts';
import { createPodNamespace, startKernelPath, workload } from '@kmesh/lab/testing/kernel/kernel-path.ts';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { MeshState } from '@kmesh/orchestration';
import { type ConnectOutcome, type ConnectReason, kernelPrograms, readConnectCounters } from '@kmesh/runtime';
import { type ExpectedOutcome, expectedOutcome } from './expected-outcome.ts';
import {
  clientNamespaces,
  outsidePool,
  ports,
  Random,
  randomUpdates,
  vipPool,
  workloadPool,
} from './random-mesh.ts';

const MESHES = repetitions({ ci: 250, full: 1_000 });
const DIALS = 8;
const ECONNREFUSED = 111;

const clients: readonly Workload[] = clientNamespaces.map((namespace, index) =>
  workload({
    uid: `client-${namespace}`,
    namespace,
    addresses: [`10.99.0.${index + 1}`],
    node: 'node-1',
    clusterId: 'Kubernetes',
    locality: { region: 'r1', zone: 'z1', subzone: '' },
  }),
);
// Services are in the tables; connections to other addresses must not be changed.
const dialledIps = [...vipPool, ...vipPool, ...vipPool, ...vipPool, ...outsidePool, ...workloadPool];
const dialledPorts = [...ports, 81];

test(`in ${MESHES} random meshes real connects match the decisions of orchestration and the decoded tables`, async () => {
  const view = new MeshState({ routesHttpByConnection: true });
  // All except the getpeername programs, which would hide the sockets' real peers from the dialers.
  const programs = kernelPrograms.filter((name) => !name.startsWith('kmesh_peer'));
  await using path = await startKernelPath({ view, programs });
  using namespaces = new DisposableStack();
  await using dialers = new AsyncDisposableStack();
  await path.tables.apply(view.apply(clients.map((client) => ({ kind: 'workload', workload: client }))));
  const pods = clients.map((client) => {
    const namespace = namespaces.use(createPodNamespace());
    // As in a pod with capture rules: connections that the hook leaves to them keep their address.
    assert.equal(path.tables.enrol(namespace.cookie, client, true), true);
    return { client, dialer: dialers.adopt(new Dialer(namespace), (dialer) => dialer.close()) };
  });

  const counters = path.object.map('counters');
  const said = new Map<ConnectReason, { least: number; most: number }>();
  const seen = { direct: 0, refused: 0, kept: 0, cautious: 0, sets: 0 };
  for (let seed = 1; seed <= MESHES; seed++) {
    const random = new Random(seed);
    await path.tables.apply(view.apply(randomUpdates(random)));
    await Promise.all(
      pods.map(async ({ client, dialer }) => {
        const targets = Array.from({ length: 12 }, () => ({
          ip: random.pick(dialledIps as [string, ...string[]]),
          port: random.pick(dialledPorts as [number, ...number[]]),
          count: DIALS,
        }));
        const expected = targets.map(({ ip, port }) => expectedOutcome(view, client, ip, port));
        const answers = targets.map((target) => path.tables.connectOutcomes(client.uid, target) ?? []);
        for (const outcomes of answers) countSaid(said, outcomes);
        for (const [index, results] of (await dialer.dial(targets)).entries()) {
          const target = targets[index];
          const outcome = expected[index];
          if (target === undefined || outcome === undefined) continue;
          const dialled = `${target.ip}|${target.port}`;
          const where = `mesh ${seed}, ${client.uid} → ${dialled}`;
          for (const result of results) {
            check(where, dialled, result, outcome, seen);
            const possible = answers[index] ?? [];
            assert.ok(
              possible.some((one) => isOutcome(one, dialled, result)),
              `${where}: got ${JSON.stringify(result)}, the tables are read as ${JSON.stringify(possible)}`,
            );
          }
        }
        const small = expected.findIndex(isSmallSet);
        const [balanced, outcome] = [targets[small], expected[small]];
        if (balanced === undefined || outcome === undefined) return;
        const missed = await dialUntilAllSeen(dialer, balanced, new Set(outcome.direct.keys()));
        assert.deepEqual(
          missed,
          [],
          `mesh ${seed}, ${client.uid} → ${balanced.ip}|${balanced.port}: never reached`,
        );
        seen.sets++;
      }),
    );
  }
  const counted = readConnectCounters(counters);
  for (const [reason, { least, most }] of said) {
    // Balanced connections are counted when they open, and dialled once more for their shares.
    if (reason === 'kernelBalanced') continue;
    const connects = Number(counted[reason]);
    assert.ok(least <= connects && connects <= most, `${reason}: ${connects}, predicted ${least} to ${most}`);
  }
  assert.ok(said.size >= 8, [...said.keys()].join());
  for (const table of path.tables.usage()) assert.deepEqual(table.refused, {}, table.table);
  // The test is meaningful only if connections took several paths.
  const dials = seen.direct + seen.refused + seen.kept;
  assert.ok(seen.direct > dials / 10 && seen.refused > dials / 10, JSON.stringify(seen));
  assert.ok(seen.sets > MESHES / 2, JSON.stringify(seen));
  // The tables must not leave decidable connections to the tunnel path.
  assert.ok(seen.cautious < dials / 20, JSON.stringify(seen));
});

/** Connects that must be counted under each reason, and those that may be. */
function countSaid(
  said: Map<ConnectReason, { least: number; most: number }>,
  outcomes: readonly ConnectOutcome[],
): void {
  const reasons = new Set(outcomes.map(({ reason }) => reason));
  for (const reason of reasons) {
    const sum = said.get(reason) ?? { least: 0, most: 0 };
    said.set(reason, sum);
    sum.most += DIALS;
    if (reasons.size === 1) sum.least += DIALS;
  }
}

function isOutcome({ reason, address }: ConnectOutcome, dialled: string, result: DialResult): boolean {
  if (reason.startsWith('refused')) return result.errno === ECONNREFUSED;
  if (result.errno !== undefined) return false;
  return (
    `${result.ip}|${result.port}` === (address === undefined ? dialled : `${address.ip}|${address.port}`)
  );
}

/** Every draw is plain TCP to one of a few endpoints, each with a large enough share. */
function isSmallSet(outcome: ExpectedOutcome | undefined): boolean {
  if (outcome === undefined || outcome.tunnel || outcome.refused || outcome.mayTunnel) return false;
  const shares = [...outcome.direct.values()];
  return shares.length > 1 && shares.length <= 6 && Math.min(...shares) >= 1 / 16;
}

/** Dials until every endpoint was reached. Returns endpoints not reached after more dials than chance explains. */
async function dialUntilAllSeen(
  dialer: Dialer,
  target: { readonly ip: string; readonly port: number },
  endpoints: Set<string>,
): Promise<string[]> {
  for (let round = 0; round < 20 && endpoints.size > 0; round++) {
    const [results = []] = await dialer.dial([{ ...target, count: 32 }]);
    for (const { ip, port } of results) endpoints.delete(`${ip}|${port}`);
  }
  return [...endpoints];
}

function check(
  where: string,
  dialled: string,
  result: DialResult,
  expected: ExpectedOutcome,
  seen: { direct: number; refused: number; kept: number; cautious: number },
): void {
  const wanted = () =>
    `${where}: got ${JSON.stringify(result)}, orchestration allows ${JSON.stringify([...expected.direct])}` +
    ` tunnel=${expected.tunnel} refused=${expected.refused}`;
  if (result.errno !== undefined) {
    assert.ok(result.errno === ECONNREFUSED && expected.refused, wanted());
    seen.refused++;
    return;
  }
  const reached = `${result.ip}|${result.port}`;
  if (reached === dialled) {
    assert.ok(expected.direct.has(reached) || expected.tunnel || expected.mayTunnel, wanted());
    seen.kept++;
    if (!expected.direct.has(reached) && !expected.tunnel) seen.cautious++;
    return;
  }
  assert.ok(expected.direct.has(reached), wanted());
  seen.direct++;
}
