/** Connections whose destination the node translates: of a service that only kube-proxy knows, or of a port of the node. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '@kmesh/api/testing';
import { createLab, type Lab, type LabMesh, type Pod, startMesh } from '@kmesh/lab';
import { takesKernelPath } from '@kmesh/lab/testing/daemon/pinned-node.ts';
import { buildNative } from '@kmesh/lab/testing/kernel/dialer.ts';

const evade = () => buildNative('evade', new URL('../security/native/', import.meta.url));

/** Not known to the mesh. */
const SERVICE = { v4: '10.96.77.7', v6: 'fd00:96::77' };

describe('a service that only the node knows, of a pod of the node', () => {
  let lab: Lab;
  let mesh: LabMesh;
  let client: Pod;
  let server: Pod;

  before(async () => {
    lab = await createLab();
    await lab.node();
    mesh = await startMesh(lab, { kernelPath: true });
    ({ pod: client } = await mesh.pod({ name: 'client' }));
    ({ pod: server } = await mesh.pod({ name: 'server' }));
    await server.serve({ port: 8080, mode: 'http' });
    await server.listen({ port: 8081 }, (socket) => socket.on('error', () => undefined).end('port-8081'));
    await takesKernelPath(mesh, client, `${server.addresses.v4}:8080`);
    const { node } = mesh.node();
    await node.run('nft', ['-f', '-'], {
      input: `table inet services {
  chain prerouting {
    type nat hook prerouting priority -100
    ip daddr ${SERVICE.v4} tcp dport 80 dnat ip to ${server.addresses.v4}:8081
    ip6 daddr ${SERVICE.v6} tcp dport 80 dnat ip6 to [${server.addresses.v6}]:8081
  }
}
`,
    });
    // Of a connection that the wire delivers the node tracks the first packet only.
    await node.run('sysctl', ['-q', '-w', 'net.netfilter.nf_conntrack_tcp_timeout_syn_sent=1']);
  });
  after(async () => {
    await mesh?.close();
    await lab?.close();
  });

  for (const [family, port] of [
    ['v4', 23_456],
    ['v6', 23_457],
  ] as const) {
    test(`is reached from a port from which the pod itself was dialled before (IP${family})`, async () => {
      const text = (ip: string, of: number) => (family === 'v4' ? `${ip}:${of}` : `[${ip}]:${of}`);
      const dial = async (to: string): Promise<string> => {
        const steps = [
          'patience=2000',
          `kind=${family.at(-1)}`,
          `bind=${text(client.addresses[family], port)}`,
        ];
        return (await client.run(evade(), [...steps, `connect=${to}`, 'send'])).stdout;
      };
      assert.match(await dial(text(server.addresses[family], 8081)), /port-8081/);
      await eventually('the node has forgotten it', async () => {
        const { stdout } = await mesh.node().node.run('cat', ['/proc/net/nf_conntrack']);
        return !stdout.includes(`sport=${port} `);
      });
      assert.match(await dial(text(SERVICE[family], 80)), /port-8081/);
    });
  }
});
