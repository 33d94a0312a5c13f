import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connectFrom, createLab, endpointText, openHbone, parseMetrics, startMesh } from '@kmesh/lab';
import { repetitions } from '@kmesh/lab/testing/repetitions.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';

const INVENTED = repetitions({ ci: 500, full: 2_000 });
const AT_ONCE = 100;

/** One line of the exposition: a name, labels with escaped values, a number. */
const wellFormed = /^[a-zA-Z_:][\w:]*(\{([a-zA-Z_]\w*="(\\[\\"n]|[^"\\\n])*",?)*\})? \S+$/;

test(`invented baggage is bounded: the namespace is the certificate’s, and ${INVENTED} names are one set of series, "other"`, async () => {
  await using lab = await createLab();
  await lab.node();
  await using mesh = await startMesh(lab);
  const { pod: server } = await mesh.pod({ name: 'server' });
  await server.serve({ port: 8080 });
  const stranger = await lab.outsideHost();
  await untilEnrolled(mesh, [server]);
  const { proxy } = mesh.node();
  const watch = await proxy.watch();
  const identity = mesh.identity('spiffe://cluster.local/ns/evil/sa/evil');
  const to = endpointText(server.addresses.v4, 8080);
  const open = async () => {
    const peer = await openHbone(await connectFrom(stranger, { host: server.addresses.v4, port: 15008 }), {
      identity,
    });
    await peer.ready();
    return peer;
  };
  let peer = await open();
  const call = async (baggage: string) => {
    const { status, stream } = await peer.request(to, { baggage });
    stream.close();
    assert.equal(status, 200);
  };
  await call('k8s.namespace.name=payments,k8s.deployment.name=first,service.name=first');
  for (let from = 0; from < INVENTED; from += AT_ONCE) {
    const names = Array.from({ length: AT_ONCE }, (_, index) => `invented-${from + index}`);
    await Promise.all(
      names.map((name) =>
        call(`k8s.namespace.name=payments-${name},k8s.deployment.name=${name},service.name=${name}`),
      ),
    );
  }
  peer.close();
  // Characters and lengths that no name has, each first on a separate connection.
  for (const value of ['a"} 1 x{y="z', '%0Ainjected 1', 'x'.repeat(254), '\\n']) {
    peer = await open();
    await call(`k8s.namespace.name=${value},k8s.deployment.name=${value},service.name=plain`);
    peer.close();
  }
  const { opened } = await watch.traffic('destination', 1 + INVENTED + 4, {
    source_principal: 'spiffe://cluster.local/ns/evil/sa/evil',
  });
  assert.equal(opened, 1 + INVENTED + 4, 'every one is counted');

  const { body } = await proxy.http(15020, '/metrics');
  for (const line of body.split('\n'))
    if (line !== '' && !line.startsWith('#')) assert.match(line, wellFormed);
  const evil = parseMetrics(body).filter(
    ({ name, labels }) =>
      name === 'istio_tcp_connections_opened_total' && labels['source_principal']?.includes('/ns/evil/'),
  );
  const values = (label: string) => [...new Set(evil.map(({ labels }) => labels[label]))].sort();
  assert.deepEqual(values('source_workload_namespace'), ['evil']);
  assert.deepEqual(values('source_workload'), ['first', 'other', 'unknown']);
  assert.ok(evil.length <= 4, `${evil.length} series`);
  assert.doesNotMatch(watch.text, /payments|invented/, 'nor does the access log repeat it');
});
