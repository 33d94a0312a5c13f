/** Two pods of one node, with and without a mesh, on a bare bridge and on a node with the rules that clusters have. */
import { createLab, installRedirect, keyOf, type Node, type Pod, serviceOf, startMesh } from '@kmesh/lab';
import { asInstalled } from '../harness/as-installed.ts';
import { passesBridge } from '../harness/passes-bridge.ts';
import { BULK_PORT, HTTP_PORT, SHORT_PORT, startNginx } from '../harness/programs.ts';

/** Ports of the service by server program. */
const SERVICE_PORTS = { [HTTP_PORT]: HTTP_PORT, [SHORT_PORT]: SHORT_PORT, [BULK_PORT]: BULK_PORT };

/** One data path from a client to a server on the same node. */
export interface Contestant {
  readonly name: string;
  readonly node: Node;
  readonly client: Pod;
  readonly server: Pod;
  /** Address that the client dials: the server's or its service's. */
  readonly to: string;
}

/** Configuration of a path. */
export interface Way {
  readonly name: string;
  /** The node has bridge-nf, connection tracking and some rules. */
  readonly busyNode: boolean;
  /** `rules`: the server's address, between pods with a mesh's rules and without its programs. */
  readonly by: 'address' | 'rules' | 'kube-proxy' | 'kmesh';
}

/** Starts a contestant; it ends with the stack. */
export async function contestant(stack: AsyncDisposableStack, way: Way): Promise<Contestant> {
  const lab = stack.use(await createLab());
  const node = await lab.node();
  const vips = lab.serviceAddress();
  if (way.busyNode) await becomeBusy(node);
  if (way.by !== 'kmesh') {
    const client = await node.pod({ name: 'client' });
    const server = await node.pod({ name: 'server' });
    await serve(server, stack);
    if (way.by === 'kube-proxy') await translate(node, vips.v4, server.addresses.v4);
    if (way.by === 'rules') for (const pod of [client, server]) await passRules(pod);
    return {
      name: way.name,
      node,
      client,
      server,
      to: way.by === 'kube-proxy' ? vips.v4 : server.addresses.v4,
    };
  }
  const environment = await asInstalled(lab);
  const mesh = stack.use(await startMesh(lab, { kernelPath: true, environment, discardsOutput: true }));
  const service = serviceOf({ name: 'shop', vips, ports: SERVICE_PORTS });
  await mesh.apply(service);
  const { pod: client } = await mesh.pod({ name: 'client' });
  const { pod: server } = await mesh.pod({
    name: 'server',
    workload: { services: { [keyOf(service)]: {} } },
  });
  await serve(server, stack);
  const probe = {
    to: `${vips.v4}:${BULK_PORT}`,
    mode: 'halfclose',
    bytes: 1 << 16,
    connections: 10,
  } as const;
  await passesBridge(mesh, client, probe);
  return { name: way.name, node, client, server, to: vips.v4 };
}

async function serve(server: Pod, stack: AsyncDisposableStack): Promise<void> {
  startNginx(server, stack);
  await server.serve({ port: BULK_PORT, mode: 'halfclose' });
}

/** istio-cni's rules, and before them the translation that exempts a connection, as in a pod on the kernel path. */
async function passRules(pod: Pod): Promise<void> {
  const claim = `tcp dport { ${Object.keys(SERVICE_PORTS).join(', ')} } meta nfproto ipv4 dnat ip to ip daddr`;
  const table = `table inet claim {
  chain prerouting {
    type nat hook prerouting priority -110; policy accept;
    ${claim}
  }
  chain output {
    type nat hook output priority -110; policy accept;
    ${claim}
  }
}
`;
  await pod.run('nft', ['-f', '-'], { input: table });
  await installRedirect(pod);
}

/**
 * Sets up a node like one of a cluster without a mesh: bridged packets pass iptables, conntrack and some twenty rules.
 */
async function becomeBusy(node: Node): Promise<void> {
  const rules = Array.from({ length: 20 }, (_, at) => `-A KUBE-FIREWALL -s 192.0.2.${at + 1}/32 -j ACCEPT`);
  await node.run('sysctl', ['-qw', 'net.bridge.bridge-nf-call-iptables=1']);
  const table = `*filter
:KUBE-FIREWALL -
-A FORWARD -j KUBE-FIREWALL
${rules.join('\n')}
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
-A PREROUTING -s 192.0.2.1/32 -j ACCEPT
COMMIT
`;
  await node.run('iptables-restore', ['--noflush'], { input: table });
}

/** A service of one endpoint as kube-proxy's iptables rules. */
async function translate(node: Node, vip: string, server: string): Promise<void> {
  const ports = Object.keys(SERVICE_PORTS);
  const table = `*nat
:KUBE-SERVICES -
:KUBE-POSTROUTING -
:KUBE-MARK-MASQ -
${ports.map((port) => `:KUBE-SVC-${port} -\n:KUBE-SEP-${port} -`).join('\n')}
-A PREROUTING -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE
${ports
  .map(
    (port) => `-A KUBE-SERVICES -d ${vip}/32 -p tcp -m tcp --dport ${port} -j KUBE-SVC-${port}
-A KUBE-SVC-${port} -j KUBE-SEP-${port}
-A KUBE-SEP-${port} -s ${server}/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-${port} -p tcp -m tcp -j DNAT --to-destination ${server}:${port}`,
  )
  .join('\n')}
COMMIT
`;
  await node.run('iptables-restore', ['--noflush'], { input: table });
}
