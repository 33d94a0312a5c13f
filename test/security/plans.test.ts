/**
 * Plans of the engine (docs/threads.md). The tests block the control thread: connections that are served meanwhile were
 * admitted by a plan. A change of any input of the decision must end the plan at once.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Workload } from '@kmesh/api';
import { type Dialing, endpointText, type Pod, serviceOf } from '@kmesh/lab';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { startTestMesh, type TestMesh } from '@kmesh/lab/testing/tunnel/mesh.ts';
import type { Recorded } from '@kmesh/lab/testing/tunnel/recorder.ts';
import { until } from '@kmesh/lab/testing/tunnel/traffic.ts';

const PORT = 8080;
const noClient = policy(
  'Deny',
  { principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }] },
  { name: 'no-client' },
);
const onlyClient = policy(
  'Allow',
  { principals: [{ kind: 'Exact', value: 'cluster.local/ns/default/sa/sa-client' }] },
  { name: 'only-client' },
);
const nowhere = {
  destination: { kind: 'address', network: '', ip: '10.99.99.99' },
  hboneMtlsPort: 15008,
} as const;

let mesh: TestMesh;
let client: { pod: Pod; workload: Workload };
let server: { pod: Pod; workload: Workload };
let vip: string;
const service = () =>
  serviceOf({ name: 'shop', vips: { v4: vip, v6: 'fd00:99::1' }, ports: { [PORT]: PORT } });
let serverProcess: number;

before(async () => {
  mesh = await startTestMesh({ nodes: 2, settings: { ownWaitMilliseconds: 200 } });
  vip = mesh.lab.serviceAddress().v4;
  mesh.apply(service());
  client = await mesh.pod({ name: 'client' });
  await serve();
});
after(() => mesh[Symbol.asyncDispose]());

/** Adds a server to the service. */
async function serve(): Promise<void> {
  const { namespace, hostname } = service();
  const workload = { services: { [`${namespace}/${hostname}`]: {} } };
  server = await mesh.pod({ node: 1, workload });
  await server.pod.serve({ port: PORT, mode: 'http' });
  serverProcess = server.pod.spawn('sleep', ['3600'], { stdio: 'ignore' }).pid ?? 0;
}

/** Returns the connections that the server's namespace has accepted. */
function accepted(): number {
  const tcp = readFileSync(`/proc/${serverProcess}/net/snmp`, 'utf8').match(/^Tcp: .*$/gm) ?? [];
  const [names, values] = tcp.map((line) => line.split(' '));
  return Number(values?.[names?.indexOf('PassiveOpens') ?? -1]);
}

const moment = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread until the server has accepted a number of connections beyond those of `before`. */
function acceptsWhileBusy(more: number, before = accepted()): void {
  const wanted = before + more;
  const deadline = performance.now() + 20_000;
  while (accepted() < wanted) {
    assert.ok(performance.now() < deadline, 'no connection is served while the control thread is busy');
    Atomics.wait(moment, 0, 0, 1);
  }
}

function dialing(options: Partial<Parameters<Pod['startDialing']>[0]> = {}): Dialing {
  const to = options.to ?? endpointText(server.pod.addresses.v4, PORT);
  return client.pod.startDialing({
    connections: 0,
    concurrency: 3,
    mode: 'http',
    timeoutMs: 20_000,
    ...options,
    to,
  });
}

function revoke(workload: Workload): void {
  const { serial } = mesh.authority.issue(workload);
  mesh.revocations.set(mesh.authority.authority.revocationList([serial]).der);
}

function unrevoke(): void {
  mesh.revocations.set();
  mesh.authority.rotate();
}

/** Records of both ends. */
const records = (reporter: 'source' | 'destination') =>
  mesh
    .proxy(reporter === 'source' ? 0 : 1)
    .records.connections.filter(({ start }) => start.reporter === reporter);

/** The engine reports the duration of connections that a plan admitted. */
const isPlanned = ({ end }: Recorded): boolean => end?.durationMilliseconds !== undefined;

describe('plans of the engine', () => {
  for (const [what, to] of [
    ['an address of a pod', () => endpointText(server.pod.addresses.v4, PORT)],
    ['a service with one endpoint', () => endpointText(vip, PORT)],
  ] as const) {
    test(`${what}: connections are served while the control thread is busy, and each is recorded as if it had decided`, async () => {
      await client.pod.dial({ to: to(), mode: 'http' });
      await until(() => records('destination').every(({ end }) => end !== undefined));
      mesh.clear();
      const began = performance.now();
      const dialled = dialing({ to: to() });
      await dialled.turns(3);
      acceptsWhileBusy(100);
      await dialled.turns(3);
      const report = await dialled.stop();
      assert.equal(report.failed, 0, JSON.stringify(report.failures));
      for (const reporter of ['source', 'destination'] as const) {
        await until(
          () =>
            records(reporter).length === report.connections &&
            records(reporter).every(({ end }) => end !== undefined),
        );
        const all = records(reporter);
        const [first] = all;
        for (const { start, end, fromClient, fromServer } of all) {
          const { sourceAddress, startedAt, ...same } = start;
          const { sourceAddress: _s, startedAt: _t, ...expected } = first?.start ?? start;
          assert.deepEqual(same, expected);
          assert.equal(end?.flag, '-');
          assert.ok(fromClient > 0 && fromServer > 0);
          assert.deepEqual([fromClient, fromServer], [first?.fromClient, first?.fromServer]);
          assert.ok(end.durationMilliseconds === undefined || end.durationMilliseconds > 0);
          assert.ok((end.durationMilliseconds ?? 0) < performance.now() - began);
        }
        const planned = all.filter(isPlanned).length;
        assert.ok(planned >= 100, `${planned} of ${all.length} were admitted by plans`);
      }
      const ports = records('source').map(({ start }) => start.sourceAddress);
      assert.equal(new Set(ports).size, ports.length);
      for (const port of ports) assert.match(port, new RegExp(`^${client.pod.addresses.v4}:\\d+$`));
      // All sockets except those of pooled connections are closed.
      await until(() => mesh.proxy(0).records.sockets.source === 0);
      assert.equal(mesh.proxy(0).tunnel.connectionCount, 0);
      assert.equal(mesh.proxy(1).tunnel.connectionCount, 0);
    });
  }

  test('a connection that the engine admitted and has not reported is closed when a policy denies it', async (context) => {
    context.after(() => mesh.apply(without(noClient)));
    const to = endpointText(server.pod.addresses.v4, PORT);
    for (let round = 0; round < 5; round++) {
      mesh.clear();
      assert.equal((await client.pod.dial({ to, mode: 'http', connections: 3 })).failed, 0);
      await until(() => records('destination').filter(({ end }) => end !== undefined).length === 3);
      mesh.clear();
      // Some may be accepted before this thread continues.
      const before = accepted();
      const held = dialing({ connections: 8, concurrency: 8, requests: 1_000_000_000 });
      acceptsWhileBusy(8, before);
      // None of them was reported to this thread, which does not yield between the change and the decision.
      assert.equal(records('destination').length, 0);
      mesh.apply(noClient);
      assert.equal(records('destination').length, 8);
      assert.equal((await held.report).failed, 8);
      await until(() => records('destination').every(({ end }) => end !== undefined));
      for (const { end } of records('destination')) {
        assert.equal(end?.flag, 'DENY');
        assert.match(end.error ?? '', /closed after a policy change: denied by policy default\/no-client/);
      }
      mesh.apply(without(noClient));
    }
  });

  test('a plan admits only equal requests: another port on the same HBONE connection is denied each time', async (context) => {
    const denied = policy('Deny', { destinationPorts: [PORT + 1] }, { name: 'denied-port' });
    context.after(() => mesh.apply(without(denied)));
    await server.pod.serve({ port: PORT + 1, mode: 'http', name: 'denied' });
    mesh.clear();
    mesh.apply(denied);
    const { v4, v6 } = server.pod.addresses;
    const to = [PORT, PORT + 1].flatMap((port) => [endpointText(v4, port), endpointText(v6, port)]);
    const dialled = client.pod.startDialing({
      ...{ to, connections: 0, concurrency: 3, mode: 'http', timeoutMs: 20_000 },
    });
    await dialled.turns(200);
    const { byEndpoint, connections, failed, failures } = await dialled.stop();
    assert.deepEqual(Object.keys(byEndpoint), [server.pod.name]);
    for (const { target } of failures) assert.match(target, new RegExp(`:${PORT + 1}$`));
    assert.ok(failed > 50 && connections - failed > 50, `${failed} of ${connections} failed`);
    const planned = records('destination').filter(isPlanned);
    assert.ok(planned.length > 20, `${planned.length} were admitted by plans`);
    for (const { start } of planned) assert.match(start.hboneAddress ?? '', new RegExp(`:${PORT}$`));
  });

  /** Changes that must end plans, and their reversal. */
  const changes: readonly {
    readonly what: string;
    readonly prepare?: () => void;
    readonly change: () => void;
    readonly undo: () => Promise<void> | void;
    readonly to?: () => string;
    readonly rounds?: number;
  }[] = [
    {
      what: 'a policy that denies',
      change: () => mesh.apply(noClient),
      undo: () => mesh.apply(without(noClient)),
    },
    {
      what: 'a policy that allows only others',
      change: () =>
        mesh.apply(policy('Allow', { namespaces: [{ kind: 'Exact', value: 'other' }] }, { name: 'other' })),
      undo: () => mesh.apply({ kind: 'removePolicy', key: 'default/other' }),
    },
    {
      what: 'the removal of the policy that allowed it, beside another',
      prepare: () =>
        mesh.apply(
          onlyClient,
          policy('Allow', { namespaces: [{ kind: 'Exact', value: 'other' }] }, { name: 'other' }),
        ),
      change: () => mesh.apply(without(onlyClient)),
      undo: () => mesh.apply({ kind: 'removePolicy', key: 'default/other' }),
    },
    {
      what: 'a policy that the server’s workload lists from now on',
      prepare: () =>
        mesh.apply(
          policy('Deny', { destinationPorts: [PORT] }, { name: 'listed', scope: 'WorkloadSelector' }),
        ),
      change: () => mesh.apply({ ...server.workload, authorizationPolicies: ['default/listed'] }),
      undo: () => mesh.apply(server.workload, { kind: 'removePolicy', key: 'default/listed' }),
    },
    {
      what: 'a missing waypoint of the workload',
      change: () => mesh.apply({ ...server.workload, waypoint: nowhere }),
      undo: () => mesh.apply(server.workload),
    },
    {
      what: 'a missing waypoint of the service',
      to: () => endpointText(vip, PORT),
      change: () => mesh.apply({ ...service(), waypoint: nowhere }),
      undo: () => mesh.apply(service()),
    },
    {
      what: 'an endpoint that became unhealthy',
      to: () => endpointText(vip, PORT),
      change: () => mesh.apply({ ...server.workload, status: 'Unhealthy' }),
      undo: () => mesh.apply(server.workload),
    },
    {
      what: 'a port that is removed from the service',
      to: () => endpointText(vip, PORT),
      change: () => mesh.apply({ ...service(), ports: new Map([[PORT + 1, PORT]]) }),
      undo: () => mesh.apply(service()),
    },
    {
      what: 'another identity of the client',
      prepare: () => mesh.apply(onlyClient),
      change: () => mesh.apply({ ...client.workload, serviceAccount: 'sa-another' }),
      undo: () => mesh.apply(client.workload, without(onlyClient)),
    },
    {
      what: 'another trust domain of the server',
      change: () => mesh.apply({ ...server.workload, trustDomain: 'elsewhere.local' }),
      undo: () => mesh.apply(server.workload),
    },
    {
      what: 'a revoked certificate of the client',
      change: () => revoke(client.workload),
      undo: unrevoke,
    },
    {
      what: 'a revoked certificate of the server',
      change: () => revoke(server.workload),
      undo: unrevoke,
    },
    {
      what: 'a server that leaves the mesh',
      rounds: 1,
      change: () => mesh.proxy(1).tunnel.removePod(server.pod.uid),
      undo: serve,
    },
    {
      what: 'a client that leaves the mesh',
      rounds: 1,
      change: () => mesh.proxy(0).tunnel.removePod(client.pod.uid),
      undo: () => mesh.serve(mesh.proxy(0), client.pod),
    },
  ];

  for (const { what, prepare, change, undo, to, rounds = 3 } of changes) {
    test(`${what}: no connection that begins afterwards is served`, async (context) => {
      let changed = false;
      context.after(async () => {
        if (changed) await undo();
      });
      for (let round = 0; round < rounds; round++) {
        if (changed) await undo();
        prepare?.();
        const dialled = dialing(to === undefined ? {} : { to: to() });
        await dialled.turns(3);
        acceptsWhileBusy(20);
        changed = true;
        change();
        await dialled.epoch(1);
        await dialled.turns(3);
        const report = await dialled.stop();
        const served = (epoch: number) => report.byEpoch.filter((entry) => entry.epoch === epoch);
        assert.ok(served(0).length > 0, 'served before');
        assert.deepEqual(served(1), []);
      }
    });
  }
});
