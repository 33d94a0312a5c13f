import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createLab, endpointText, serviceOf, startMesh } from '@kmesh/lab';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';

const run = promisify(execFile);

for (const kernelPath of [true, false]) {
  test(`pods have separate shares of log lines and metric series, with the kernel path ${kernelPath ? 'on' : 'off'}`, async () => {
    await using lab = await createLab();
    await lab.node();
    await using mesh = await startMesh(lab, {
      kernelPath,
      environment: { KMESH_POD_LOG_LINES: '10', KMESH_POD_SERIES: '200' },
    });
    const [loud, quiet] = [await mesh.pod({ name: 'loud' }), await mesh.pod({ name: 'quiet' })];
    const { pod: server, workload } = await mesh.pod({ name: 'server', captured: false });
    await server.serve({ port: 8080 });
    const services = Array.from({ length: 60 }, (_, index) =>
      serviceOf({ name: `service-${index}`, vips: lab.serviceAddress(), ports: { 80: 8080 } }),
    );
    const keys = services.map(({ namespace, hostname }) => `${namespace}/${hostname}`);
    await mesh.apply(...services, {
      ...workload,
      services: new Map(keys.map((key) => [key, new Map([[80, 8080]])])),
    });
    await untilEnrolled(mesh, [loud.pod, quiet.pod]);
    await untilTablesFollow(mesh);
    const { proxy } = mesh.node();
    const watch = await proxy.watch();
    const to = services.map(({ vips }) => endpointText(vips[0]?.ip ?? '', 80));

    const dialled = await loud.pod.dial({ to, connections: 600, concurrency: 4 });
    assert.equal(dialled.failed, 0, 'shares of lines and series do not limit connections');
    const own = { namespace: 'default', pod: 'loud' };
    const count = (name: string, labels = own) => watch.growth(name, labels);
    const written = (name: string) =>
      watch.lines.filter(({ fields }) => fields['src.workload'] === name).length;
    await proxy.until(
      'each connection has its line or is counted as suppressed',
      async () => written('loud') + (await count('kmesh_pod_log_lines_suppressed_total')) >= 600,
    );
    assert.ok(written('loud') >= 100 && written('loud') < 300, `${written('loud')} lines`);
    const said = () => watch.text.split('a pod exceeds its share of the access log').length - 1;
    assert.equal(said(), 1);
    assert.ok((await count('kmesh_pod_series_overflow_total')) > 0);
    assert.equal(watch.text.split('a pod has reached its share of the metric series').length - 1, 1);
    const opened = 'istio_tcp_connections_opened_total';
    const source = { reporter: 'source', source_workload: 'loud' };
    assert.equal(await watch.growth(opened, source), 600, 'every connection is counted');
    assert.ok((await watch.growth(opened, { ...source, destination_workload: 'other' })) > 300);

    const few = await quiet.pod.dial({ to: to.slice(0, 10), connections: 50 });
    assert.equal(few.failed, 0);
    await proxy.until('every line of the other pod is written', () => written('quiet') === 50);
    assert.equal(await watch.growth(opened, { source_workload: 'quiet', destination_workload: 'other' }), 0);

    const pid = String(proxy.pid);
    const checked = await run('nsenter', [
      ...['--net', '--target', pid, process.execPath, 'packages/ctl/src/main.ts', 'check'],
    ]).then(
      ({ stdout }) => stdout,
      (error: { stdout: string }) => error.stdout,
    );
    assert.match(
      checked,
      /warning +daemon +pod default\/loud +\d+ access log lines suppressed.*KMESH_POD_LOG_LINES/,
    );
    assert.match(checked, /pod default\/loud +\d+ connections counted as other/);
    assert.doesNotMatch(checked, /default\/quiet/);
  });
}
