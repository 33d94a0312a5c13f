/** Related settings: one row of docs/settings.md, which is generated from this file. */
interface SettingsRow {
  /** Environment variables; a final `*` stands for any ending. */
  readonly names: readonly string[];
  /** Defaults in words, in the order of the names. */
  readonly byDefault: string;
  readonly meaning: string;
}

interface SettingsGroup {
  readonly title: string;
  readonly rows: readonly SettingsRow[];
}

/** Every environment variable that {@link readConfig} reads; a test compares the two. */
export const settingsGroups: readonly SettingsGroup[] = [
  {
    title: 'Control plane and certificates',
    rows: [
      {
        names: ['XDS_ADDRESS', 'XDS_ROOT_CA', 'ALT_XDS_HOSTNAME', 'XDS_HEADER_*'],
        byDefault: "istiod's address, `./var/run/secrets/istio/root-cert.pem`",
        meaning: 'control plane; an empty address turns xDS off',
      },
      {
        names: ['XDS_ON_DEMAND'],
        byDefault: 'false',
        meaning: 'request addresses only when a connection needs them; without a kernel path',
      },
      {
        names: ['CA_ADDRESS', 'CA_ROOT_CA', 'ALT_CA_HOSTNAME', 'CA_HEADER_*', 'SECRET_TTL'],
        byDefault: "istiod's address, as above, 24h",
        meaning: 'certificates',
      },
      {
        names: ['AUTH_TOKEN'],
        byDefault: '`./var/run/secrets/tokens/istio-token`',
        meaning: 'path or token, read again for every request',
      },
      {
        names: ['LOCAL_XDS_PATH', 'LOCAL_XDS'],
        byDefault: '',
        meaning: 'local mesh file, read again when it changes, or the mesh itself as text',
      },
      {
        names: ['FAKE_CA'],
        byDefault: 'false',
        meaning: 'no effect, with a warning: certificates come from `CA_ADDRESS`',
      },
      {
        names: ['CRL_PATH', 'TLS12_ENABLED', 'COMPLIANCE_POLICY'],
        byDefault: '',
        meaning:
          'revocation lists; allow TLS 1.2; `pqc` for X25519MLKEM768 only; other policies (`fips-140-2`) have no effect, with a warning',
      },
    ],
  },
  {
    title: 'Identity and location',
    rows: [
      {
        names: [
          'NODE_NAME',
          'NETWORK',
          'CLUSTER_ID',
          'CLUSTER_DOMAIN',
          'TRUST_DOMAIN',
          'INSTANCE_IP',
          'POD_NAME',
          'POD_NAMESPACE',
          'SERVICE_ACCOUNT',
        ],
        byDefault: '',
        meaning: 'identity and location of this proxy',
      },
      { names: ['ISTIO_META_*', 'ISTIO_METAJSON_*'], byDefault: '', meaning: 'node metadata' },
      {
        names: ['PROXY_CONFIG'],
        byDefault: '',
        meaning: 'ProxyConfig as YAML or JSON; overrides the mesh file',
      },
      {
        names: ['KUBERNETES_SERVICE_HOST'],
        byDefault: 'set in a cluster',
        meaning: "chooses istiod's default address",
      },
      {
        names: ['PROXY_MODE', 'PROXY_WORKLOAD_INFO'],
        byDefault: 'shared',
        meaning: '`shared` or `dedicated`',
      },
    ],
  },
  {
    title: 'DNS',
    rows: [
      {
        names: ['ISTIO_META_DNS_CAPTURE'],
        byDefault: 'true',
        meaning: 'the DNS proxy of the pods; anything but `true` turns it off',
      },
      {
        names: ['ISTIO_META_DNS_PROXY_ADDR'],
        byDefault: '`localhost:15053`',
        meaning: 'listen address of the DNS proxy in every pod: `localhost:port`, or one address and port',
      },
      {
        names: ['PREFERED_SERVICE_NAMESPACE'],
        byDefault: '',
        meaning:
          "preferred namespace for DNS when several services have one host name, after the client's namespace and the canonical service",
      },
      {
        names: ['KMESH_RESOLV_CONF'],
        byDefault: '`/etc/resolv.conf`',
        meaning: 'resolvers for names outside the mesh, for pods whose own resolv.conf cannot be read',
      },
    ],
  },
  {
    title: 'Pods and traffic',
    rows: [
      {
        names: ['UNSTABLE_ENABLE_SOCKS5'],
        byDefault: 'false',
        meaning: 'refuses port 15080 as a destination; there is no SOCKS5 listener',
      },
      {
        names: ['INPOD_UDS', 'INPOD_PORT_REUSE', 'PACKET_MARK'],
        byDefault: '`/var/run/ztunnel/ztunnel.sock`, true, 1337',
        meaning: "the CNI agent's socket; options of sockets in pods",
      },
      {
        names: ['TERMINATION_GRACE_PERIOD_SECONDS', 'CONNECTION_TERMINATION_DEADLINE'],
        byDefault: '5 s',
        meaning:
          'limit of a drain: the deadline, else the grace period less 5 s (less 1 s if it is 10 s or shorter)',
      },
      {
        names: ['ENABLE_PROXY'],
        byDefault: 'true',
        meaning: 'false: no traffic is proxied; connections of captured pods are refused',
      },
      { names: ['IPV6_ENABLED'], byDefault: 'true', meaning: 'IPv6 listeners' },
      {
        names: [
          'POOL_MAX_STREAMS_PER_CONNECTION',
          'POOL_UNUSED_RELEASE_TIMEOUT',
          'HTTP2_STREAM_WINDOW_SIZE',
          'HTTP2_CONNECTION_WINDOW_SIZE',
          'HTTP2_FRAME_SIZE',
          'KEEPALIVE_ENABLED',
          'KEEPALIVE_TIME',
          'KEEPALIVE_INTERVAL',
          'KEEPALIVE_RETRIES',
          'USER_TIMEOUT_ENABLED',
        ],
        byDefault: '100, 5m, …',
        meaning: 'HBONE pool, HTTP/2 and TCP',
      },
      {
        names: ['ENABLE_ORIG_SRC', 'LOCALHOST_APP_TUNNEL', 'ENABLE_RESPONSE_BAGGAGE'],
        byDefault: 'best effort, true, true',
        meaning: 'how pods are reached',
      },
      {
        names: [
          'ZTUNNEL_WORKER_THREADS',
          'ZTUNNEL_CPU_LIMIT',
          'ZTUNNEL_RESOURCE_CPU_LIMIT',
          'ZTUNNEL_RESOURCE_CPU_REQUEST',
        ],
        byDefault: 'a quarter of the CPUs, at least 2',
        meaning: 'data threads',
      },
      {
        names: ['KMESH_HTTP_ROUTES'],
        byDefault: 'off',
        meaning:
          '`by-connection`: HTTP routes with only weights split connections, not requests; see [routes.md](routes.md)',
      },
      {
        names: ['KMESH_POD_DESCRIPTORS'],
        byDefault: 'as many as stay free for others',
        meaning:
          'most file descriptors that the connections of one pod may hold at a time; further connections are refused, counted in `kmesh_pod_share_refusals_total` and logged once',
      },
      {
        names: ['KMESH_POD_LOG_LINES'],
        byDefault: '2000',
        meaning:
          'most access log lines per second of one pod, with bursts of ten times as many; suppressed lines are counted in `kmesh_pod_log_lines_suppressed_total` and logged once',
      },
      {
        names: ['KMESH_POD_SERIES'],
        byDefault: '40000',
        meaning:
          'most metric series of the connections of one pod; further peers and services are counted as `other`, in `kmesh_pod_series_overflow_total`, and logged once',
      },
    ],
  },
  {
    title: 'Kernel path',
    rows: [
      { names: ['KMESH_KERNEL_PATH'], byDefault: 'true', meaning: 'false: everything takes the tunnel path' },
      {
        names: ['KMESH_CGROUP'],
        byDefault: 'root of the cgroup v2 mount',
        meaning: 'the cgroup whose processes the kernel path serves',
      },
      {
        names: ['KMESH_PINS'],
        byDefault: '',
        meaning:
          'directory on a bpffs, such as `/sys/fs/bpf/kmesh`, that keeps the kernel path alive while the daemon is away',
      },
      {
        names: ['KMESH_LEASE'],
        byDefault: '60s',
        meaning: "how long the kernel's programs keep deciding while no daemon runs; at least 1s",
      },
      {
        names: ['KMESH_SAME_NODE'],
        byDefault: 'attested',
        meaning:
          '`mtls`: connections between pods of one node take the tunnel and are encrypted; `attested`: the kernel attests the sender, see [bpf/README.md](../bpf/README.md#who-may-talk-to-whom)',
      },
      {
        names: ['KMESH_NODE_NAMESPACE'],
        byDefault: '`/host/netns`, or that of process 1 below `/host/proc` or `/proc`',
        meaning:
          "path of the node's network namespace; the daemon's own is tried as well. Without it, same-node connections take the tunnel",
      },
      {
        names: ['KMESH_HANDOFF'],
        byDefault: 'true with `KMESH_PINS`',
        meaning:
          "hand connections that need the tunnel from `connect` directly to the pod's proxy, bypassing NAT and conntrack",
      },
    ],
  },
  {
    title: 'Log',
    rows: [
      {
        names: ['RUST_LOG', 'LOG_FORMAT', 'AUTHZ_POLICY_INFO_LOGGING'],
        byDefault: 'info, plain',
        meaning: 'log filter (`info,access=debug`), `json` for JSON lines',
      },
    ],
  },
];

/** Variables of Node.js and the C library, which the daemon itself does not read. */
export const engineSettings: readonly Pick<SettingsRow, 'names' | 'meaning'>[] = [
  {
    names: ['NODE_OPTIONS=--max-semi-space-size=4'],
    meaning: 'small young generation: shorter garbage collections, less resident memory after a large push',
  },
  {
    names: ['MALLOC_ARENA_MAX=2', 'MALLOC_MMAP_THRESHOLD_=131072', 'MALLOC_TRIM_THRESHOLD_=131072'],
    meaning: 'the C library returns memory to the kernel after a large push',
  },
  {
    names: ['NODE_COMPILE_CACHE'],
    meaning:
      "directory, writable only by the daemon's user, where Node.js caches compiled modules: threads then do not load the compiler that strips types",
  },
];
