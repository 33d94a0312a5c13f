/**
 * Consequence of an error: an exit code of the process, or
 * - `retry`: the daemon keeps running and retries by itself;
 * - `refuse`: this connection, certificate or resource is refused; all others are unaffected;
 * - `fallback`: the feature stays off and the tunnel path carries the traffic;
 * - `reply`: the sender of the request gets the message; nothing else changes;
 * - `caller`: the function did nothing, and its caller decides.
 */
type ErrorOutcome = 1 | 2 | 'retry' | 'refuse' | 'fallback' | 'reply' | 'caller';

/** One code of the registry: its meaning wherever it is used. The error's message has the details. */
export interface RegisteredError {
  readonly sentence: string;
  readonly outcome: ErrorOutcome;
}

/**
 * Every code of a `KmeshError`, by area. Codes are stable: they are added, never renamed or reused.
 * `scripts/generate-errors.ts` generates docs/errors.md from this list.
 */
export const errorRegistry = {
  // Start and command line
  KMESH_USAGE: {
    sentence: 'The command line is not valid; the message names the argument and what is allowed.',
    outcome: 2,
  },
  KMESH_CONFIG_INVALID: {
    sentence: 'A setting has an invalid value; correct the variable or file that the message names.',
    outcome: 1,
  },
  KMESH_LOCAL_CONFIG_INVALID: {
    sentence:
      'The local mesh file is not valid; the message lists each problem. If it becomes invalid later, the last valid mesh stays in force.',
    outcome: 1,
  },
  KMESH_LOCAL_CONFIG_UNREADABLE: {
    sentence:
      'The local mesh file cannot be read; check LOCAL_XDS_PATH and permissions. Later, the last valid mesh stays in force.',
    outcome: 1,
  },
  KMESH_LISTEN_FAILED: {
    sentence: 'The admin or readiness port cannot be bound; free the port or configure another one.',
    outcome: 1,
  },
  KMESH_SCRAPE_LISTEN: {
    sentence: 'The metrics port cannot be bound; free the port or configure another one.',
    outcome: 1,
  },
  KMESH_ADDON_MISSING: {
    sentence: 'The native addon has not been built for this machine; run scripts/build-addon.sh.',
    outcome: 1,
  },
  KMESH_ADDON_BROKEN: {
    sentence: 'The native addon cannot be loaded by this Node.js; rebuild it with scripts/build-addon.sh.',
    outcome: 1,
  },
  KMESH_PROGRAM_FILE_MISSING: {
    sentence: 'A file of the build is missing; run "npm run build", or rebuild the executable.',
    outcome: 1,
  },
  KMESH_TEMPORARY_FILE: {
    sentence:
      'The native addons cannot be loaded because the temporary directory is not writable; mount one, or set TMPDIR.',
    outcome: 1,
  },
  KMESH_TUNNEL_ENGINE: {
    sentence: 'A data thread cannot be started; raise the limits of threads or descriptors of the process.',
    outcome: 1,
  },

  // Control plane and certificates
  KMESH_SETTING_UNUSABLE: {
    sentence:
      'A setting of the control plane connection (root, token, header) cannot be used at the moment; it is read again at the next attempt.',
    outcome: 'retry',
  },
  KMESH_XDS_RESPONSE_MALFORMED: {
    sentence:
      'The control plane sent bytes that are not a delta discovery response; the stream is opened again.',
    outcome: 'retry',
  },
  KMESH_XDS_RESOURCE_REJECTED: {
    sentence:
      'A resource of a response is not valid; the NACK names it, its last valid version stays, and the others apply.',
    outcome: 'refuse',
  },
  KMESH_WORKLOAD_UNKNOWN: {
    sentence:
      'The control plane did not send the workload of the pod in time; check that istiod knows the pod and that xDS is connected.',
    outcome: 'refuse',
  },
  KMESH_DEMAND_UNANSWERED: {
    sentence:
      'The control plane did not tell in time whether an address or a name is in the mesh (XDS_ON_DEMAND); check that xDS is connected.',
    outcome: 'refuse',
  },
  KMESH_CA_UNREACHABLE: {
    sentence: 'The certificate authority does not answer; check CA_ADDRESS and the network.',
    outcome: 'retry',
  },
  KMESH_CA_REFUSED: {
    sentence:
      'The certificate authority refused the request; check the token and the trusted node accounts of istiod.',
    outcome: 'retry',
  },
  KMESH_CA_RESPONSE_EMPTY: {
    sentence: 'The certificate authority answered without a certificate; check the log of istiod.',
    outcome: 'retry',
  },
  KMESH_CA_RESPONSE_INVALID: {
    sentence:
      'The answer of the certificate authority cannot be parsed; check which server CA_ADDRESS names.',
    outcome: 'retry',
  },
  KMESH_CA_ROOT_MISSING: {
    sentence: 'The certificate chain in the answer has no root, so no peer could be verified.',
    outcome: 'retry',
  },
  KMESH_CA_SAN_MISMATCH: {
    sentence: 'The certificate in the answer is for another identity; it is not used.',
    outcome: 'retry',
  },
  KMESH_CA_KEY_MISMATCH: {
    sentence: 'The certificate in the answer is for another key; it is not used.',
    outcome: 'retry',
  },
  KMESH_CERTIFICATE_TIMEOUT: {
    sentence: 'No certificate arrived in the time that a connection waits for it; check that istiod answers.',
    outcome: 'refuse',
  },
  KMESH_CERTIFICATE_EXPIRED: {
    sentence: 'The certificate had expired when it arrived; compare the clocks of the node and of istiod.',
    outcome: 'retry',
  },
  KMESH_CERTIFICATE_UNAVAILABLE: {
    sentence: 'No certificate is available for an identity; the message gives the reason.',
    outcome: 'refuse',
  },
  KMESH_CERTIFICATE_FORGOTTEN: {
    sentence: 'The last workload with an identity left the node while its certificate was requested.',
    outcome: 'refuse',
  },
  KMESH_CERTIFICATES_CLOSED: {
    sentence: 'The proxy is stopping and requests no more certificates.',
    outcome: 'refuse',
  },

  // DNS
  KMESH_DNS_CLOSED: {
    sentence: 'The DNS proxy has been closed and serves no more pods.',
    outcome: 'refuse',
  },

  // Tunnel path
  KMESH_TUNNEL_CLOSED: {
    sentence: 'The proxy of the pod has been closed and accepts no connections.',
    outcome: 'refuse',
  },
  KMESH_TUNNEL_IDENTITY: {
    sentence:
      'The connection has no usable client identity: its certificate is missing or the pod changed its identity.',
    outcome: 'refuse',
  },
  KMESH_TUNNEL_CERTIFICATE: {
    sentence: 'TLS does not accept the certificate, key or trust bundle that the authority issued.',
    outcome: 'refuse',
  },
  KMESH_TUNNEL_CERTIFICATE_REVOKED: {
    sentence:
      'A revocation list names the own certificate of a connection; it carries no requests until it is renewed.',
    outcome: 'refuse',
  },
  KMESH_TUNNEL_PROXY_HEADER: {
    sentence: 'The addresses or the identity of a connection do not fit into a PROXY protocol header.',
    outcome: 'refuse',
  },

  // Kernel path
  KMESH_KERNEL_PATH_UNAVAILABLE: {
    sentence: 'The kernel or its mounts lack a requirement of the kernel path; kmeshctl check names it.',
    outcome: 'fallback',
  },
  KMESH_BPF_OBJECT_MISSING: {
    sentence: 'A compiled BPF object cannot be read; build it with scripts/build-bpf.sh.',
    outcome: 'fallback',
  },
  KMESH_BPF_OPEN_FAILED: {
    sentence: 'libbpf cannot parse a BPF object; it was built by another version or is truncated.',
    outcome: 'fallback',
  },
  KMESH_BPF_LOAD_FAILED: {
    sentence: 'The kernel refused a BPF program or map; the message contains the end of the verifier log.',
    outcome: 'fallback',
  },
  KMESH_BPF_ATTACH_FAILED: {
    sentence: 'A BPF program cannot be attached to its hook, or cannot be replaced there.',
    outcome: 'fallback',
  },
  KMESH_BPF_PIN_FAILED: {
    sentence:
      'A BPF object cannot be pinned or opened on bpffs; check that KMESH_PINS is on a mounted bpffs.',
    outcome: 'fallback',
  },
  KMESH_BPF_PERMISSION: {
    sentence:
      'The process is not permitted to use bpf(); it needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN.',
    outcome: 'fallback',
  },
  KMESH_BPF_MAP_FAILED: {
    sentence: 'A BPF map cannot be created, read, written or mapped into memory.',
    outcome: 'caller',
  },
  KMESH_BPF_NO_SUCH_SYMBOL: {
    sentence:
      'A BPF object has no map, program or constant of that name; object and daemon are from different builds.',
    outcome: 'caller',
  },
  KMESH_BPF_RUN_FAILED: {
    sentence: 'The kernel could not run a BPF program on request.',
    outcome: 'caller',
  },
  KMESH_BPF_INFO_FAILED: {
    sentence: 'The kernel returned no information about BPF programs or maps.',
    outcome: 'caller',
  },
  KMESH_BPF_STATISTICS_FAILED: {
    sentence: 'Run statistics of BPF programs cannot be enabled.',
    outcome: 'caller',
  },
  KMESH_BTF_INVALID: {
    sentence: 'The ELF or BTF of a compiled object cannot be parsed, or lacks a type.',
    outcome: 'caller',
  },
  KMESH_RING_FAILED: { sentence: 'A BPF ring buffer cannot be mapped or read.', outcome: 'caller' },
  KMESH_PRIVILEGES_FAILED: {
    sentence: 'A thread could not drop its capabilities; the daemon keeps them and runs on.',
    outcome: 'caller',
  },
  KMESH_SECCOMP_FAILED: {
    sentence: 'The seccomp filter could not be installed; the daemon runs without it.',
    outcome: 'caller',
  },
  KMESH_BARRIER_FAILED: {
    sentence: 'The kernel cannot report when running programs have ended.',
    outcome: 'caller',
  },
  KMESH_POD_COMMAND_FAILED: {
    sentence: 'A command in the network namespace of a pod failed; the message contains its output.',
    outcome: 'fallback',
  },
  KMESH_PODS_OUT_OF_SIGHT: {
    sentence: 'Pods have programs of Kmesh, but their network namespaces cannot be reached from here.',
    outcome: 'caller',
  },
  KMESH_POD_NAMESPACE_TAKEN: {
    sentence: 'The CNI agent reports two pods with the same network namespace.',
    outcome: 'retry',
  },

  // Linux
  KMESH_SOCKET_FAILED: {
    sentence: 'A system call on a socket failed; the message names the call and the errno.',
    outcome: 'caller',
  },
  KMESH_SEQPACKET_FAILED: {
    sentence: 'The connection to the CNI agent failed; the daemon reconnects.',
    outcome: 'retry',
  },
  KMESH_DESCRIPTOR_FAILED: {
    sentence: 'A file descriptor cannot be closed, duplicated or counted.',
    outcome: 'caller',
  },
  KMESH_NAMESPACE_OPEN_FAILED: {
    sentence: 'A network namespace cannot be opened, or the descriptor is not one.',
    outcome: 'caller',
  },
  KMESH_NAMESPACE_CREATE_FAILED: { sentence: 'A network namespace cannot be created.', outcome: 'caller' },
  KMESH_NAMESPACE_COOKIE_FAILED: {
    sentence: 'The kernel returned no cookie for a network namespace.',
    outcome: 'caller',
  },
  KMESH_SOCKET_LIST_FAILED: {
    sentence: 'The TCP sockets of a network namespace cannot be listed.',
    outcome: 'caller',
  },
  KMESH_SOCKET_DESTROY_FAILED: {
    sentence: 'TCP sockets of a network namespace cannot be closed.',
    outcome: 'caller',
  },
  KMESH_INTERFACE_LIST_FAILED: {
    sentence: 'The interfaces of a network namespace, or the filters of one, cannot be listed.',
    outcome: 'caller',
  },
  KMESH_WATCH_FAILED: {
    sentence: 'A descriptor cannot be polled, or did not become ready in time.',
    outcome: 'caller',
  },
  KMESH_INVALID_ARGUMENT: {
    sentence: 'A function was called with an invalid argument; the message states what is allowed.',
    outcome: 'caller',
  },
  KMESH_CLOSED: { sentence: 'An object was used after its close().', outcome: 'caller' },
  KMESH_BUSY: {
    sentence: 'An object is busy with another operation; wait until it ends.',
    outcome: 'caller',
  },

  // Admin server and kmeshctl
  KMESH_QUESTION: {
    sentence: 'A request to the admin server is not valid; it is answered with status 400.',
    outcome: 'reply',
  },
  KMESH_PROFILE: {
    sentence: 'A profile cannot be taken now: another one is running, or heap profiling is not active.',
    outcome: 'reply',
  },
  KMESH_LOG_FILTER: {
    sentence: 'A log filter cannot be parsed; the filter in force does not change.',
    outcome: 'reply',
  },
  KMESH_ADMIN_UNREACHABLE: {
    sentence: 'kmeshctl gets no answer from the daemon; check that the daemon runs, and the address option.',
    outcome: 1,
  },
  KMESH_ADMIN_ANSWER: {
    sentence: 'The daemon answered kmeshctl with an error status or with unexpected content.',
    outcome: 1,
  },

  // Demo and lab
  KMESH_MACHINE_UNFIT: {
    sentence: 'This machine cannot run the demo; the message names what is missing.',
    outcome: 1,
  },
  KMESH_DEMO_PROXY: {
    sentence: 'The node proxy of the demo did not become ready; the message ends with its log.',
    outcome: 1,
  },
  KMESH_LAB_NOT_BUILT: {
    sentence: 'A program of the lab has not been built; run scripts/build-lab.sh.',
    outcome: 1,
  },
  KMESH_LAB_NO_CGROUP: { sentence: 'No cgroup v2 file system is mounted for the lab.', outcome: 1 },
  KMESH_LAB_COMMAND_FAILED: {
    sentence: 'A command of the lab failed; the message contains its output.',
    outcome: 'caller',
  },
  KMESH_LAB_COMMAND: { sentence: 'The lab control plane does not know a command.', outcome: 'caller' },
  KMESH_LAB_PROGRAM_ENDED: { sentence: 'A program of the lab ended while it was in use.', outcome: 'caller' },
  KMESH_LAB_TIMEOUT: {
    sentence: 'A scenario waited for a condition that did not hold in time.',
    outcome: 'caller',
  },
  KMESH_LAB_PROTOCOL: {
    sentence: 'The proxy violated the xDS or CA protocol in the lab.',
    outcome: 'caller',
  },
  KMESH_LAB_ZDS: { sentence: 'The proxy violated the ZDS protocol in the lab.', outcome: 'caller' },
  KMESH_LAB_ISTIOD: {
    sentence: 'The control plane of the lab cannot listen or has ended.',
    outcome: 'caller',
  },
  KMESH_LAB_LISTEN: { sentence: 'A server of the lab cannot listen on its port.', outcome: 'caller' },
  KMESH_LAB_MESH: { sentence: 'A lab mesh was described or used incorrectly.', outcome: 'caller' },
  KMESH_LAB_ADDRESS: { sentence: 'Text is not an address and port.', outcome: 'caller' },
  KMESH_LAB_DUPLICATE: {
    sentence: 'A host or pod of that name already exists in the lab.',
    outcome: 'caller',
  },
  KMESH_LAB_FULL: { sentence: 'The lab has no address left for another node.', outcome: 'caller' },
  KMESH_LAB_CLEANUP: {
    sentence: 'The lab could not remove everything that it had created.',
    outcome: 'caller',
  },
} as const satisfies Readonly<Record<string, RegisteredError>>;

/** A stable, machine-readable error code of {@link errorRegistry}. */
export type KmeshErrorCode = keyof typeof errorRegistry;
