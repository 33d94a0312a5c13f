import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  type AddressPair,
  createLab,
  type Host,
  installProbeSource,
  keyOf,
  type Lab,
  type LabMesh,
  type MeshPod,
  type Node,
  type Pod,
  parseEndpoint,
  serviceOf,
  startMesh,
} from '@kmesh/lab';
import { attempt, echo } from '@kmesh/lab/testing/traffic/echo.ts';
import { untilEnrolled, untilTablesFollow } from '@kmesh/lab/testing/traffic/paths.ts';
import { policy, strict, without } from '@kmesh/lab/testing/traffic/policies.ts';

/** NodePorts of the pod: with the source address kept, and with it translated to the node's. */
const PRESERVED = 30080;
const REPLACED = 30081;
const families = ['v4', 'v6'] as const;

/** Installs kube-proxy's rules for a service of type NodePort. */
async function installNodePorts(node: Node, pod: Pod): Promise<void> {
  const rules = [PRESERVED, REPLACED].flatMap((port) => [
    `ip daddr ${node.addresses.v4} tcp dport ${port} meta mark set ${port} dnat ip to ${pod.addresses.v4}:8080`,
    `ip6 daddr ${node.addresses.v6} tcp dport ${port} meta mark set ${port} dnat ip6 to [${pod.addresses.v6}]:8080`,
  ]);
  const table = `table inet node-ports {
  chain prerouting { type nat hook prerouting priority -100;
    ${rules.join('\n    ')}
  }
  chain output { type nat hook output priority -100;
    ${rules.join('\n    ')}
  }
  chain postrouting { type nat hook postrouting priority 99;
    meta mark ${REPLACED} masquerade
  }
}
`;
  await node.run('nft', ['-f', '-'], { input: table });
}

for (const variant of ['iptables', 'nftables'] as const) {
  for (const kernelPath of [true, false]) {
    describe(`NodePort, probes and self-calls with ${variant} rules and the kernel path ${kernelPath ? 'on' : 'off'}`, () => {
      let lab: Lab;
      let mesh: LabMesh;
      let outside: Host;
      let member: Pod;
      let server: MeshPod;
      let vips: AddressPair;
      const path = kernelPath ? 'kernel' : 'tunnel';

      before(async () => {
        lab = await createLab();
        await lab.node();
        await lab.node();
        outside = await lab.outsideHost();
        mesh = await startMesh(lab, { kernelPath, redirect: { variant } });
        ({ pod: member } = await mesh.pod({ name: 'member' }));
        vips = lab.serviceAddress();
        const service = serviceOf({ name: 'own', vips, ports: { 80: 8080 } });
        await mesh.apply(service);
        server = await mesh.pod({ name: 'server', workload: { services: { [keyOf(service)]: {} } } });
        await server.pod.serve({ port: 8080, mode: 'double' });
        for (const { node } of mesh.nodes) await installNodePorts(node, server.pod);
        await untilEnrolled(mesh, [member, server.pod]);
      });
      after(async () => {
        await mesh?.close();
        await lab?.close();
      });

      /** The host that dials, the node whose port it dials, and the source address that the pod sees. */
      const callers = () => {
        const [first, second] = mesh.nodes.map(({ node }) => node) as [Node, Node];
        const bridge = { v4: '10.1.0.1', v6: 'fd00:10:1::1' };
        return [
          { who: 'outside', from: outside, node: first, port: PRESERVED, seen: outside.addresses },
          { who: 'outside, source replaced', from: outside, node: first, port: REPLACED, seen: bridge },
          {
            who: 'outside, by the other node',
            from: outside,
            node: second,
            port: REPLACED,
            seen: second.addresses,
          },
          { who: 'a pod of the mesh', from: member, node: first, port: REPLACED, seen: bridge },
          { who: 'the node itself', from: first, node: first, port: REPLACED, seen: bridge },
        ] as const;
      };

      test('NEG-17: clients through a NodePort are served without an identity, and logged with their source address on arrival', async () => {
        for (const { who, from, node, port, seen } of callers()) {
          for (const family of families) {
            const watch = await mesh.node().proxy.watch();
            await echo(from, node.addresses[family], port);
            const { fields } = await watch.line('inbound', { 'dst.workload': 'server' });
            const source = parseEndpoint(fields['src.addr'] ?? '').ip;
            const expected = [path, undefined, seen[family]];
            assert.deepEqual([fields['path'], fields['src.identity'], source], expected, `${who}, ${family}`);
          }
        }
      });

      test('NEG-17: a policy applies to clients through a NodePort on every node, without exemption', async () => {
        const addresses = Object.values(outside.addresses).map(
          (ip) => `${ip}/${ip.includes(':') ? 128 : 32}`,
        );
        const onlyOutside = policy('Allow', { sourceIps: addresses });
        for (const [rule, served] of [
          [strict, []],
          [onlyOutside, ['outside']],
        ] as const) {
          await mesh.apply(rule);
          await untilTablesFollow(mesh);
          const before = (await server.pod.counts())[0]?.connections ?? 0;
          let expected = 0;
          for (const { who, from, node, port } of callers()) {
            for (const family of families) {
              const { bytes } = await attempt(from, node.addresses[family], port, 'hello', 500, 1);
              const wanted = (served as readonly string[]).includes(who);
              assert.equal(bytes !== '', wanted, `${rule.policy.name}: ${who}, ${family}`);
              if (wanted) expected++;
            }
          }
          assert.equal((await server.pod.counts())[0]?.connections, before + expected);
          await mesh.apply(without(rule));
        }
      });

      test('NSP-15: probes of the kubelet succeed, with and without policies, and are neither authorised nor logged', async () => {
        const { node, proxy } = mesh.node();
        await installProbeSource(node, [server.pod]);
        const watch = await proxy.watch();
        for (const family of families) await echo(node, server.pod.addresses[family]);
        await mesh.apply(strict);
        await untilTablesFollow(mesh);
        for (const family of families) await echo(node, server.pod.addresses[family]);
        await echo(member, server.pod.addresses.v4);
        // Its line follows those of all earlier connections.
        await watch.access('inbound');
        assert.equal(watch.lines.filter(({ fields }) => fields['direction'] === 'inbound').length, 1);
        await mesh.apply(without(strict));
        await installProbeSource(node, []);
      });

      test('NSP-14, IST-02: a pod reaches itself by its address, over lo and by its service, under STRICT too', async () => {
        for (const rules of [[], [strict]]) {
          await mesh.apply(...rules);
          await untilTablesFollow(mesh);
          for (const ip of [...Object.values(server.pod.addresses), '127.0.0.1', '::1'])
            await echo(server.pod, ip);
          for (const ip of Object.values(vips)) await echo(server.pod, ip, 80);
        }
        await mesh.apply(without(strict));
      });
    });
  }
}
