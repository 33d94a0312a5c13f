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
   * `KMESH_REDIRECT`: move small messages of a node from socket to socket. Unset: only where the kernel shows redirected
   * bytes to every way of reading as it shows TCP's; true: also where it does not, see the page about redirect.
   */
  readonly redirect: boolean | undefined;
  /**
   * `KMESH_HANDOFF`: send what must be tunnelled from `connect` straight to the pod's proxy, past NAT and conntrack. On by
   * default where programs are pinned: only then do two instances that serve a pod at a time know the same connections.
   */
  readonly handoff: boolean;
  /** `KMESH_HOOK_STATISTICS`: let the kernel measure its programs, which costs some 20 ns per run on the whole machine. */
  readonly statistics: boolean;
}
