import { waitUntil } from '../wait.ts';
import { network } from './addresses.ts';
import type { Credentials } from './credentials.ts';
import { type Machine, runIn, startIn, writeIn } from './machine.ts';

/** Configuration of a node. */
export interface NodePlace {
  readonly machine: Machine;
  readonly address: string;
  /** Addresses of its pods. */
  readonly pods: string;
}

/** The name of the image that holds a pod's namespaces. */
export const pauseImage = 'registry.k8s.io/pause:3.10';
/** Where a node's containerd listens. */
export const containerd = '/run/containerd/containerd.sock';

/** User of the API server for a node's kubelet and kube-proxy. */
export function nodeUsers(name: string): { name: string; groups: string[] }[] {
  return [
    { name: `system:node:${name}`, groups: ['system:nodes'] },
    { name: `system:kube-proxy`, groups: ['system:node-proxier'] },
  ];
}

/** Writes the configuration of a node's programs. */
export function configureNode({ machine, address, pods }: NodePlace, credentials: Credentials): void {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  const unused = ['btrfs', 'zfs', 'devmapper', 'aufs'].map((name) => `io.containerd.snapshotter.v1.${name}`);
  writeIn(
    machine,
    '/etc/containerd/config.toml',
    [
      'version = 2',
      `disabled_plugins = ${JSON.stringify(unused)}`,
      '[grpc]',
      `  address = "${containerd}"`,
      `[${cri}]`,
      `  sandbox_image = "${pauseImage}"`,
      // Without CAP_SYS_RESOURCE, as on a machine in a container, a lower score cannot be set.
      '  restrict_oom_score_adj = true',
      `[${cri}.cni]`,
      '  bin_dir = "/opt/cni/bin"',
      '  conf_dir = "/etc/cni/net.d"',
      `[${cri}.containerd.runtimes.runc]`,
      '  runtime_type = "io.containerd.runc.v2"',
      '',
    ].join('\n'),
  );
  writeIn(
    machine,
    '/etc/kubernetes/kubelet.yaml',
    JSON.stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
      authorization: { mode: 'AlwaysAllow' },
      cgroupDriver: 'cgroupfs',
      clusterDNS: [network.dns],
      clusterDomain: network.domain,
      containerRuntimeEndpoint: `unix://${containerd}`,
      enforceNodeAllocatable: [],
      // A full disk of the host affects all nodes, and its files are not the cluster's.
      evictionHard: { 'memory.available': '100Mi' },
      failCgroupV1: false,
      failSwapOn: false,
      imageGCHighThresholdPercent: 100,
      makeIPTablesUtilChains: true,
      nodeStatusUpdateFrequency: '4s',
      resolvConf: '/etc/resolv.conf',
      rotateCertificates: false,
    }),
  );
  writeIn(
    machine,
    '/etc/kubernetes/kubelet.kubeconfig',
    credentials.kubeconfig(`system:node:${machine.name}`),
  );
  writeIn(machine, '/etc/kubernetes/kube-proxy.kubeconfig', credentials.kubeconfig('system:kube-proxy'));
  writeIn(machine, '/etc/resolv.conf', '');
  writeIn(machine, '/etc/hosts', `127.0.0.1 localhost\n::1 localhost\n${address} ${machine.name}\n`);
  writeIn(machine, '/etc/machine-id', `${Buffer.from(machine.name).toString('hex').padEnd(32, '0')}\n`);
  // As in kind: each pod has a route to the node.
  writeIn(
    machine,
    '/etc/cni/net.d/10-pods.conflist',
    JSON.stringify({
      cniVersion: '0.3.1',
      name: 'pods',
      plugins: [
        {
          type: 'ptp',
          ipMasq: false,
          ipam: {
            type: 'host-local',
            dataDir: '/run/cni-addresses',
            routes: [{ dst: '0.0.0.0/0' }],
            ranges: [[{ subnet: pods }]],
          },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    }),
  );
}

/** Starts containerd and waits until it accepts images. */
export async function startContainerd(machine: Machine): Promise<void> {
  await runIn(machine, [
    'sh',
    '-c',
    'mkdir -p /opt/cni/bin && for plugin in ptp host-local portmap loopback; do ln -sf /usr/lib/cni/$plugin /opt/cni/bin/; done',
  ]);
  startIn(machine, 'containerd', ['containerd', '--config', '/etc/containerd/config.toml']);
  await waitUntil(
    `containerd of ${machine.name}; its log is ${machine.logs}/containerd.log`,
    30_000,
    async () => {
      try {
        return await runIn(machine, ['ctr', '--address', containerd, 'version']);
      } catch {
        return undefined;
      }
    },
  );
}

/** Imports an image on a node, from an archive at a path in the node. */
export async function importImage(machine: Machine, archive: string): Promise<void> {
  await runIn(
    machine,
    ['ctr', '--address', containerd, '--namespace', 'k8s.io', 'images', 'import', '--no-unpack', archive],
    { timeoutMs: 180_000 },
  );
}

/** Starts a node's kubelet and kube-proxy. */
export function startKubelet({ machine, address }: NodePlace): void {
  startIn(machine, 'kubelet', [
    'kubelet',
    '--config=/etc/kubernetes/kubelet.yaml',
    '--kubeconfig=/etc/kubernetes/kubelet.kubeconfig',
    `--hostname-override=${machine.name}`,
    `--node-ip=${address}`,
    `--node-labels=topology.kubernetes.io/region=r1,topology.kubernetes.io/zone=${machine.name}`,
  ]);
  startIn(machine, 'kube-proxy', [
    'kube-proxy',
    '--kubeconfig=/etc/kubernetes/kube-proxy.kubeconfig',
    `--hostname-override=${machine.name}`,
    `--cluster-cidr=${network.pods}`,
    '--proxy-mode=iptables',
    // Limits of the whole host, which a node must not set.
    '--conntrack-max-per-core=0',
    '--conntrack-tcp-timeout-established=0',
    '--conntrack-tcp-timeout-close-wait=0',
  ]);
}
