/**
 * What connections between two pods of one node rest on while the kernel path serves them, for `kmeshctl check`.
 * docs/security.md has the same sentences, each with the test that holds it.
 */
export const threatModel = [
  'An identity within the node is attested: packets come from the interface and address that the node gave to that pod, and the daemon holds a valid certificate of it.',
  'Such a connection is plain TCP and not encrypted; with KMESH_SAME_NODE=mtls it is mutual TLS, as every connection between nodes is.',
  'STRICT is met by attestation, unless KMESH_SAME_NODE=mtls is set.',
  'Every packet is judged by the policies of that instant: what they deny ends with its next packet; nothing that is sent after a change was acknowledged arrives.',
  "On the node's bridge others see first packets at most, where no other software owns the hook; elsewhere bytes travel the node's network in plain text.",
  'A pod with NET_RAW or NET_ADMIN can send its own connections past the mesh, in plain text.',
  "Such a pod is not taken for another one, and gets into no pod past that pod's policies.",
  'A pod without these capabilities cannot leave the mesh.',
  'Root on the node can do anything, and so can whoever may write to the pins or load BPF programs.',
  'When the daemon dies its programs decide for the time of KMESH_LEASE and then no more.',
] as const;
