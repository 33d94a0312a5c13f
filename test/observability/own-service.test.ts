import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Why } from '@kmesh/api';
import { createLab, keyOf, type Lab, type LabMesh, type Pod, serviceOf, startMesh } from '@kmesh/lab';
import { attempt, echo, exchange, open, spiffe } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, without } from '@kmesh/lab/testing/traffic/policies.ts';
import { ending } from '@kmesh/lab/testing/tunnel/traffic.ts';

/** Sides of a connection, as metrics and the access log call them. */
const sides = [
  { reporter: 'source', direction: 'outbound' },
  { reporter: 'destination', direction: 'inbound' },
] as const;

for (const handedOver of [true, false]) {
  describe(`a pod that is the only endpoint of a service dials it, ${handedOver ? 'handed off' : 'captured'}`, () => {
    let lab: Lab;
    let mesh: LabMesh;
    let pod: Pod;
    let hosts: { readonly v4: string; readonly v6: string };

    before(async () => {
      lab = await createLab();
      await lab.node();
      mesh = await startMesh(lab, {
        kernelPath: true,
        environment: { KMESH_HANDOFF: String(handedOver) },
      });
      hosts = lab.serviceAddress();
      const service = serviceOf({ name: 'own', vips: hosts, ports: { 80: 8080, 81: 8081 } });
      await mesh.apply(service);
      ({ pod } = await mesh.pod({ name: 'alone', workload: { services: { [keyOf(service)]: {} } } }));
      await pod.serve({ port: 8080, mode: 'double' });
      await pod.serve({ port: 8081, mode: 'http' });
      await untilEnrolled(mesh, [pod]);
    });
    after(async () => {
      await mesh?.close();
      await lab?.close();
    });

    for (const family of ['v4', 'v6'] as const) {
      test(`OBS-25: over IP${family} each side is counted and logged once, with both principals`, async () => {
        const { proxy } = mesh.node();
        const watch = await proxy.watch();
        await echo(pod, hosts[family], 80);
        for (const { reporter, direction } of sides) {
          const traffic = await watch.traffic(reporter);
          assert.deepEqual([traffic.opened, traffic.closed, traffic.failed], [1, 1, 0], reporter);
          const named = {
            reporter,
            source_principal: spiffe(pod),
            destination_principal: spiffe(pod),
            connection_security_policy: 'mutual_tls',
            destination_service_name: 'own',
          };
          assert.equal(await watch.growth('istio_tcp_connections_opened_total', named), 1, reporter);
          const { fields } = await watch.line(direction);
          assert.deepEqual(
            ['path', 'src.identity', 'dst.identity', 'dst.service'].map((name) => fields[name]),
            ['tunnel', spiffe(pod), spiffe(pod), 'own.default.svc.cluster.local'],
          );
        }
        // A later connection: by its line everything about the first one has been logged.
        await echo(pod, hosts[family], 80);
        for (const { reporter, direction } of sides) {
          const { opened, failed } = await watch.traffic(reporter, 2);
          assert.deepEqual([opened, failed], [2, 0], reporter);
          assert.equal((await watch.access(direction, 2)).length, 2);
        }
      });
    }

    test('kmeshctl why predicts the tunnel', async () => {
      const query = new URLSearchParams({ source: `default/${pod.name}`, destination: `${hosts.v4}:80` });
      const { body } = await mesh.node().proxy.http(15000, `/kmesh/why?${query}`);
      const { path, outcomes } = JSON.parse(body) as Why;
      assert.equal(path, 'tunnel');
      assert.deepEqual(
        outcomes.map(({ because }) => because),
        ['the pod is the endpoint itself: its packets do not leave it, so nothing attests who sends them'],
      );
    });

    test('OBS-25: a denying policy closes it while it is idle, and denies the next one', async () => {
      const socket = await open(pod, hosts.v4, 80);
      await exchange(socket);
      const denial = policy('Deny', { principals: [{ kind: 'Exact', value: spiffe(pod).slice(9) }] });
      const ended = ending(socket, 5_000);
      await mesh.apply(denial);
      assert.notEqual(await ended, 'open');
      socket.destroy();
      const denied = await attempt(pod, hosts.v4, 80);
      assert.deepEqual([denied.how === 'open', denied.bytes], [false, '']);
      await mesh.apply(without(denial));
      await echo(pod, hosts.v4, 80);
    });

    test('with another endpoint on the node, connections to itself are tunnelled and those to the other one stay in the kernel', async () => {
      const { pod: other } = await mesh.pod({
        name: 'other',
        workload: { services: { 'default/own.default.svc.cluster.local': {} } },
      });
      await other.serve({ port: 8081, mode: 'http' });
      await untilEnrolled(mesh, [other]);
      const watch = await mesh.node().proxy.watch();
      const connections = 200;
      const report = await pod.dial({ to: `${hosts.v4}:81`, mode: 'http', connections, concurrency: 4 });
      assert.equal(report.failed, 0);
      const lines = await watch.access('outbound', connections);
      assert.deepEqual(
        new Set(lines.map(({ fields }) => `${fields['path']} ${fields['dst.workload']}`)),
        new Set(['tunnel alone', 'kernel other']),
      );
      const own = lines.filter(({ fields }) => fields['path'] === 'tunnel').length;
      // With a single draw; a second one would result in 50 or 150 of them, seven standard deviations away.
      assert.ok(own > 70 && own < 130, `${own} of ${connections}`);
    });
  });
}
