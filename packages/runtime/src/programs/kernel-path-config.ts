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
}
