/** Kmesh's own settings of the kernel path. */
export interface KernelPathConfig {
  /** `KMESH_KERNEL_PATH`, true by default; off: everything runs on the tunnel path. */
  readonly enabled: boolean;
  /** `KMESH_CGROUP`: the cgroup v2 directory whose processes are served; unset: the root of the mount. */
  readonly cgroup: string | undefined;
  /**
   * `KMESH_PINS`: directory on bpffs, such as `/sys/fs/bpf/kmesh`, that keeps the kernel path alive while no daemon runs;
   * unset: the kernel path ends with the daemon.
   */
  readonly pins: string | undefined;
  /**
   * `KMESH_HANDOFF`: send what must be tunnelled from `connect` straight to the pod's proxy, past NAT and conntrack. On by
   * default where programs are pinned: only then do two instances that serve a pod at a time know the same connections.
   */
  readonly handoff: boolean;
  /**
   * `KMESH_LEASE`, 60 s by default: how long the programs go on deciding when no daemon renews that; after it every
   * connection is left to capture.
   */
  readonly leaseMilliseconds: number;
  /**
   * `KMESH_SAME_NODE`: `attested` (default) lets pods of one node talk in the kernel where both identities are certain;
   * `mtls`: by mutual TLS, as between nodes.
   */
  readonly sameNode: 'attested' | 'mtls';
  /**
   * `KMESH_NODE_NAMESPACE`: path of the node's network namespace; unset: `/host/netns`, or that of process 1 below `/host/proc` or `/proc`.
   * Without it connections between pods of the node take the tunnel path.
   */
  readonly nodeNamespace: string | undefined;
}
