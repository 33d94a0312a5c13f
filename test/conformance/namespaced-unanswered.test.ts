import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createLab, endpointText, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { answerUnusedAddresses } from '@kmesh/lab/testing/traffic/broken-network.ts';
import { untilEnrolled } from '@kmesh/lab/testing/traffic/paths.ts';

const ROUNDS = 4;
const CONNECTIONS = 60;

let lab: Lab;
let mesh: LabMesh;
const clients = new Map<string, Pod>();

before(async () => {
  lab = await createLab();
  const node = await lab.node();
  await answerUnusedAddresses(node, 'unreachable');
  mesh = await startMesh(lab, { kernelPath: false });
  for (const [variant, ports] of [
    ['iptables', '40000 40511'],
    ['nftables', '40001 40512'],
  ] as const) {
    const { pod } = await mesh.pod({ name: variant, captured: { variant } });
    // 256 ports with the parity of the first one; the test uses each more than once.
    await pod.run('sysctl', ['-qw', `net.ipv4.ip_local_port_range=${ports}`]);
    clients.set(variant, pod);
  }
  await untilEnrolled(mesh, [...clients.values()]);
});
after(async () => {
  await mesh?.close();
  await lab?.close();
});

for (const variant of ['iptables', 'nftables']) {
  for (const family of ['v4', 'v6'] as const) {
    test(`connections stay captured after the proxy's own attempts got no answer (${variant}, IP${family})`, async () => {
      const to = endpointText(lab.serviceAddress()[family], 80);
      for (let round = 1; round <= ROUNDS; round++) {
        const client = clients.get(variant) as Pod;
        const options = { connections: CONNECTIONS, concurrency: CONNECTIONS, timeoutMs: 8_000 };
        const { failures } = await client.dial({ to, ...options });
        // A captured client is connected to the proxy and then closed; for any other one `connect` fails.
        const uncaptured = failures.filter(({ step }) => step === 'connect');
        assert.deepEqual(uncaptured, [], `round ${round}`);
        assert.equal(
          failures.reduce((sum, { count }) => sum + count, 0),
          CONNECTIONS,
        );
      }
    });
  }
}
