import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Route, xds } from '@kmesh/api';
import { routeRecord } from '@kmesh/api/testing';
import {
  commandOf,
  createLab,
  kmeshctlExecutable,
  type Lab,
  type LabMesh,
  type MeshPod,
  serveWaypoint,
  serviceOf,
  startMesh,
} from '@kmesh/lab';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { closeWithPaths, untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { type SplitScene, splitBy, startSplitScene } from '@kmesh/lab/testing/traffic/split-scene.ts';

const CHANGES = repetitions({ ci: 150, full: 1_000 });

for (const kernelPath of [true, false]) {
  describe(`routes with the kernel path ${kernelPath ? 'on' : 'off'}`, () => {
    let lab: Lab;
    let mesh: LabMesh;
    let scene: SplitScene;
    let consumer: MeshPod;

    before(async () => {
      lab = await createLab();
      await lab.node();
      await lab.node();
      mesh = await startMesh(lab, { kernelPath });
      scene = await startSplitScene(mesh, [0, 1]);
      consumer = await mesh.pod({ name: 'consumer', namespace: 'b' });
      await untilEnrolled(mesh, [consumer.pod]);
    });
    after(() => closeWithPaths(mesh, lab));

    const dial = (pod = scene.client.pod, connections = 200) =>
      pod.dial({ to: scene.to, mode: 'http', connections, concurrency: 8 });

    async function apply(...routes: Route[]): Promise<void> {
      await mesh.apply(...routes);
      await untilTablesFollow(mesh);
    }

    const kmeshctl = async (...args: string[]) =>
      (await mesh.node().node.run(...commandOf(kmeshctlExecutable, ...args), { check: false })).stdout;

    test('the share of a backend that does not exist is refused, log and metrics name route and backend', async () => {
      const gone = { hostname: 'gone.default.svc.cluster.local', port: undefined, weight: 1 };
      await apply(splitBy(scene, [1, 0], [gone]));
      const watch = await mesh.node().proxy.watch();
      const report = await dial(undefined, 400);
      assert.deepEqual(Object.keys(report.byEndpoint), ['v1']);
      assert.ok(report.failed > 120 && report.failed < 280, `${report.failed} of 400 are refused`);
      const given = (backend_service: string) =>
        watch.growth('kmesh_route_connections_total', { route: 'default/split', backend_service });
      const served = 400 - report.failed;
      const v1 = scene.versions[0]?.hostname ?? '';
      const { proxy } = mesh.node();
      await proxy.until('every connection is counted', async () => (await given(v1)) >= served);
      assert.equal(await given(v1), served);
      assert.equal(await given(gone.hostname), report.failed);
      assert.equal(await watch.growth('kmesh_route_refusals_total', {}), report.failed);
      const lines = () =>
        watch.lines.filter(
          ({ fields }) => fields['direction'] === 'outbound' && fields['route'] !== undefined,
        );
      await proxy.until('every line is written', () => lines().length >= served);
      for (const { fields } of lines()) {
        assert.equal(fields['dst.service'], scene.service.hostname);
        assert.deepEqual([fields['route'], fields['backend']], ['default/split', v1]);
        assert.equal(fields['path'], kernelPath ? 'kernel' : 'tunnel');
      }
      const text = await kmeshctl('why', 'default/client', 'default/shop:80');
      assert.match(
        text,
        /route default\/split is applied by connection: default\/shop-v1\S*:80 50 %, gone\S* 50 %, refused: it is not known/,
      );
    });

    test('without any weight every connection is refused', async () => {
      await apply(splitBy(scene, [0, 0]));
      assert.equal((await dial()).failed, 200);
      assert.match(await kmeshctl('routes'), /no backend has a weight: every connection is refused/);
    });

    test('the only destination of a route gets all connections, on this node and on another', async () => {
      for (const version of [0, 1]) {
        await apply(
          splitBy(
            scene,
            [0, 0].map((_, index) => (index === version ? 1 : 0)),
          ),
        );
        assert.deepEqual((await dial()).byEndpoint, { [`v${version + 1}`]: 200 });
      }
    });

    test('a consumer route applies only to clients of its namespace', async () => {
      const own = splitBy(scene, [1, 0]);
      await apply(own, { ...splitBy(scene, [0, 1]), namespace: 'b', name: 'consumer' });
      assert.deepEqual((await dial()).byEndpoint, { v1: 200 });
      assert.deepEqual((await dial(consumer.pod)).byEndpoint, { v2: 200 });
      await mesh.apply({ kind: 'removeRoute', key: 'b/consumer' });
      await untilTablesFollow(mesh);
      assert.deepEqual((await dial(consumer.pod)).byEndpoint, { v1: 200 });
    });

    test('a route that needs a waypoint is not applied, and the reason is reported', async () => {
      await apply({ ...splitBy(scene, [1, 0]), unsupported: 'http.rewrite' });
      assert.deepEqual((await dial()).byEndpoint, { 'shop-0': 200 });
      const reason = /http\.rewrite: needs a waypoint/;
      assert.match(await kmeshctl('why', 'default/client', 'default/shop:80'), reason);
      assert.match(await kmeshctl('routes'), reason);
      assert.match(await kmeshctl('check'), /route default\/split .*http\.rewrite: needs a waypoint/);
    });

    test('rules for HTTP are not applied unless the operator asks for it', async () => {
      const { tcp } = splitBy(scene, [1, 0]);
      await mesh.apply({ ...scene.service, httpPorts: new Set([80]) });
      await apply({ ...splitBy(scene, [1, 0]), tcp: undefined, http: tcp });
      assert.deepEqual((await dial()).byEndpoint, { 'shop-0': 200 });
      const text = await kmeshctl('why', 'default/client', 'default/shop:80');
      assert.match(text, /HTTP routes split requests.*KMESH_HTTP_ROUTES=by-connection/);
      await mesh.apply(scene.service);
    });

    test('a backend with a waypoint is reached through it', async () => {
      const waypoint = await mesh.pod({ name: 'waypoint', captured: false });
      await waypoint.pod.serve({ port: 8080, mode: 'http' });
      const seen: string[] = [];
      const behind = serviceOf({
        name: 'behind',
        vips: lab.serviceAddress(),
        ports: { 80: 8080 },
        waypoint: {
          destination: { kind: 'address', network: '', ip: waypoint.pod.addresses.v4 },
          hboneMtlsPort: 15008,
        },
      });
      using _peer = disposing(
        await serveWaypoint(waypoint.pod, {
          identity: mesh.identity(waypoint.pod),
          route: ({ authority }) => {
            seen.push(authority);
            return { ip: waypoint.pod.addresses.v4, port: 8080 };
          },
        }),
      );
      await mesh.apply(behind);
      await apply(splitBy(scene, [0, 0], [{ hostname: behind.hostname, port: 80, weight: 1 }]));
      assert.deepEqual((await dial()).byEndpoint, { waypoint: 200 });
      assert.deepEqual([...new Set(seen)], [`${behind.vips[0]?.ip}:80`]);
    });

    test(`an acknowledged change is in force, and ${CHANGES} changes fail no connection of 64 clients`, async (context) => {
      await apply(splitBy(scene, [1, 0]));
      const dialing = scene.client.pod.startDialing({
        to: scene.to,
        mode: 'http',
        connections: 0,
        concurrency: 64,
        timeoutMs: 20_000,
      });
      const times: number[] = [];
      const change = async (shares: [number, number]): Promise<void> => {
        const sent = performance.now();
        // Answered once the kernel tables are updated.
        await mesh.apply(splitBy(scene, shares));
        times.push(performance.now() - sent);
      };
      for (let at = 1; at < CHANGES; at++) {
        if (at % 10 !== 9) {
          await change([1 + (at % 9), 1]);
          continue;
        }
        // Every tenth change gives all connections to one backend, which reveals the use of an outdated route.
        const toFirst = at % 20 === 9;
        await change(toFirst ? [1, 0] : [0, 1]);
        const { byEndpoint, failed } = await dial(undefined, 64);
        assert.deepEqual([byEndpoint, failed], [{ [toFirst ? 'v1' : 'v2']: 64 }, 0], `after change ${at}`);
      }
      const report = await dialing.stop();
      assert.equal(report.failed, 0, JSON.stringify(report.failures));
      times.sort((left, right) => left - right);
      const median = times[times.length >> 1] ?? 0;
      context.diagnostic(
        `until a change was in force: median ${median.toFixed(0)} ms, longest ${times.at(-1)?.toFixed(0)} ms`,
      );
      assert.ok(median < 1_000, `until a change was in force: median ${median} ms`);
    });
  });
}

test('a control plane that refuses routes is logged once, and its earlier routes are no longer applied', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab);
  const scene = await startSplitScene(mesh, [0, 0]);
  await mesh.apply(splitBy(scene, [1, 0]));
  await untilTablesFollow(mesh);
  const dial = () => scene.client.pod.dial({ to: scene.to, mode: 'http', connections: 20 });
  assert.deepEqual((await dial()).byEndpoint, { v1: 20 });
  const { proxy, node } = mesh.node();
  const said = () => proxy.log.split('refuses to send routes').length - 1;
  mesh.istiod.faults.refuseType(xds.virtualServiceTypeUrl, true);
  await proxy.until('the refusal is logged', () => said() === 1);
  await mesh.istiod.waitForSettled();
  await untilTablesFollow(mesh);
  assert.deepEqual((await dial()).byEndpoint, { 'shop-0': 20 });
  const { stdout } = await node.run(...commandOf(kmeshctlExecutable, 'check'), { check: false });
  assert.match(stdout, /routes .*refuses to send routes: connections are not split by weights/);
  mesh.istiod.faults.endStreams();
  await mesh.istiod.waitForSettled();
  await mesh.apply({ ...scene.service, canonical: true });
  assert.equal(said(), 1);
});

test('KMESH_HTTP_ROUTES=by-connection splits the connections of HTTP rules without a match', async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab, { environment: { KMESH_HTTP_ROUTES: 'by-connection' } });
  const scene = await startSplitScene(mesh, [0, 0]);
  const { tcp } = splitBy(scene, [1, 1]);
  await mesh.apply({ ...scene.service, httpPorts: new Set([80]) });
  await mesh.apply(routeRecord({ hosts: [scene.service.hostname], tcp: undefined, http: tcp }));
  await untilTablesFollow(mesh);
  const report = await scene.client.pod.dial({
    to: scene.to,
    mode: 'http',
    connections: 200,
    concurrency: 8,
  });
  assert.deepEqual(Object.keys(report.byEndpoint).sort(), ['v1', 'v2']);
  // A connection stays at its backend.
  const kept = await scene.client.pod.dial({ to: scene.to, mode: 'http', connections: 1, requests: 100 });
  assert.deepEqual([Object.keys(kept.byEndpoint).length, kept.failed], [1, 0]);
  await mesh.apply({ ...splitBy(scene, []), tcp: undefined, http: [{ matches: [], backends: [] }] });
  await untilTablesFollow(mesh);
  assert.equal((await scene.client.pod.dial({ to: scene.to, connections: 20 })).failed, 20);
});

function disposing(peer: { close(): void }): Disposable {
  return { [Symbol.dispose]: () => peer.close() };
}
