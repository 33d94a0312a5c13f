import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf, kmeshExecutable, workloadOf } from '@kmesh/lab';
import { startDaemonMesh } from '@kmesh/lab/testing/daemon/daemon-mesh.ts';
import { buildOther, otherFlows } from '@kmesh/lab/testing/daemon/other-build.ts';
import { exchange, open, untilServed } from '@kmesh/lab/testing/traffic/echo.ts';
import { attachedProgramIds } from '@kmesh/linux';
import { shop, takesKernelPath, VIP } from './shop.ts';

const CGROUP_CONNECT4 = 10;

for (const same of [true, false]) {
  test(`NEG-26, NEG-27, BPF-10: two daemons with the same pins at a time, ${same ? 'of one layout' : 'of different layouts'}: the newer serves, the older ends, no connection fails`, async () => {
    const other = same ? undefined : buildOther(otherFlows);
    await using mesh = await startDaemonMesh();
    const { place, client, servers, service } = await shop(mesh);
    const environment = {
      KMESH_KERNEL_PATH: 'true',
      KMESH_CGROUP: mesh.lab.cgroup,
      KMESH_PINS: `${await mesh.lab.bpffs()}/kmesh`,
      CONNECTION_TERMINATION_DEADLINE: '2s',
      RUST_LOG: 'info',
    };
    const start = async (executable: string) => {
      const daemon = await mesh.daemon(place, { environment, executable });
      await daemon.ready();
      return daemon;
    };
    const first = await start(kmeshExecutable);
    await takesKernelPath(first, () => client.dial({ to: `${VIP}:80`, mode: 'http', connections: 10 }));
    const long = await open(client, servers[0].addresses.v4, 8081);
    await exchange(long);
    const dialing = client.startDialing({
      to: `${VIP}:80`,
      connections: 0,
      concurrency: 2,
      mode: 'http',
    });

    const second = await start(other?.main ?? kmeshExecutable);
    assert.equal(attachedProgramIds(mesh.lab.cgroup, CGROUP_CONNECT4).length, 1);
    // Both receive the update; the programs read the newer one's tables.
    const [one, two] = servers;
    mesh.istiod.update([{ kind: 'workload', workload: workloadOf(two, { protocol: 'HBONE' }) }]);
    const { istiod } = mesh;
    const acknowledged = () => istiod.connections.every(({ outstanding }) => outstanding === 0);
    await istiod.waitFor('answers of both', acknowledged);
    for (const daemon of [first, second]) {
      await daemon.until(
        'its tables follow',
        async () => (await daemon.json('/kmesh/tables'))['behind'] === false,
      );
    }
    await dialing.epoch(1);
    await untilServed(servers, 50);
    await dialing.epoch(2);
    const services = { [keyOf(service)]: {} };
    mesh.istiod.update([{ kind: 'workload', workload: workloadOf(two, { protocol: 'HBONE', services }) }]);
    await exchange(long);

    first.kill('SIGTERM');
    assert.deepEqual(await first.ended, { code: 0, signal: null });
    assert.equal(attachedProgramIds(mesh.lab.cgroup, CGROUP_CONNECT4).length, 1);
    await exchange(long);
    await takesKernelPath(second, () => client.dial({ to: `${VIP}:80`, mode: 'http', connections: 10 }));

    // In the other order, and the older one is killed.
    const third = await start(kmeshExecutable);
    second.kill('SIGKILL');
    await second.ended;
    await exchange(long);
    await takesKernelPath(third, () => client.dial({ to: `${VIP}:80`, mode: 'http', connections: 10 }));
    assert.equal(attachedProgramIds(mesh.lab.cgroup, CGROUP_CONNECT4).length, 1);

    const report = await dialing.stop();
    assert.deepEqual(report.failures, []);
    assert.ok(report.connections > 500, `${report.connections}`);
    const between = report.byEpoch.filter(({ epoch }) => epoch === 1);
    assert.deepEqual(
      between.map(({ endpoint }) => endpoint),
      [one.name],
    );
    assert.deepEqual(Object.keys(report.byEndpoint).sort(), [one.name, two.name].sort());
    long.destroy();
  });
}
