import { randomBytes } from 'node:crypto';

/** Removes a table that may not exist: `add` first, so that `delete` cannot fail. */
export const CAPTURE_TABLE_REMOVAL = 'add table inet kmesh\ndelete table inet kmesh\n';

/** The name of this chain identifies the owner: of two successive daemons that serve a pod, the later one. */
const OWNER_CHAIN = `owner-${randomBytes(6).toString('hex')}`;

/** Fails as a whole if another daemon has rewritten the table. */
export const OWN_TABLE_REMOVAL = `delete chain inet kmesh ${OWNER_CHAIN}\ndelete table inet kmesh\n`;

/** Marks of bpf/kmesh_config.h; only the lower sixteen bits are compared. */
const PASSED = 'meta mark & 0x0000ffff == 0x00004b4d';
const NOT_PASSED = 'meta mark & 0x0000ffff != 0x00004b4d';
const DOUBTED = 'meta mark & 0x0000ffff == 0x00004b4e';
const REFUSED = 'meta mark & 0x0000ffff == 0x00004b4f';
const NEITHER = 'meta mark & 0x0000fffe != 0x00004b4e';

/** To istio-cni's rules the mark of the proxy, of which they compare twelve bits. Only while those rules see the packet. */
const AS_PROXY = '0x00004539';

const FIRST_PACKET = 'tcp flags & (syn | ack) == syn';

/** Index of the loopback interface in every network namespace; comparing the number is much cheaper than the name. */
const LOOPBACK = 1;

/** Bit of the connection mark: exempted from capture by `claim` or `claim-output`. The other bits are preserved. */
const CLAIMED = '0x40000000';

/**
 * The table `inet kmesh` of a pod, separate because istio-cni flushes and rewrites its own tables.
 *
 * - `claim`, before istio-cni's chains: a connection that may bypass capture is translated to its own address. That uses
 *   up the connection's single translation, so no later redirect applies; and the connection stays tracked, for rules
 *   that match on that.
 * - `claim-output`, for connections of the pod: istio-cni's rules take them for the proxy's, so a redirect that the pod
 *   itself has installed, as for a local proxy of a cloud's metadata service, applies as it does without Kmesh.
 * - `guard`, after all translation: resets what the programs at the interfaces marked as denied. What they marked as
 *   uncertain is reset only if it was exempted from capture into this pod: otherwise the proxy decides.
 * - `guard` and `guard-output`: a connection reset by its server stays in conntrack for ten seconds, with its claim. A
 *   SYN with the same addresses and ports that may not bypass capture is dropped until then; a retry is captured. So is
 *   one in the other direction: to conntrack it is invalid, and what is invalid is not translated, so not captured.
 * - `handoff`: loopback traffic between an application and its proxy is not tracked, on arrival either, except the
 *   proxy's answers to redirected connections, which come from 127.0.0.1 or ::1.
 *
 * All but the nat chains see every packet, so their first rule accepts the packets that no other rule concerns.
 */
export const CAPTURE_TABLE = `${CAPTURE_TABLE_REMOVAL}table inet kmesh {
  chain ${OWNER_CHAIN} {
  }
  chain handoff {
    type filter hook output priority raw; policy accept;
    meta oif != ${LOOPBACK} accept
    tcp dport 15001 ip daddr != 127.0.0.0/8 notrack
    tcp dport 15001 ip6 daddr != ::1 notrack
    tcp sport 15001 ip saddr != 127.0.0.0/8 notrack
    tcp sport 15001 ip6 saddr != ::1 notrack
  }
  chain claim {
    type nat hook prerouting priority -110; policy accept;
    ${PASSED} meta l4proto tcp ct mark set ct mark or ${CLAIMED}
    ${PASSED} meta nfproto ipv4 meta l4proto tcp dnat ip to ip daddr
    ${PASSED} meta nfproto ipv6 meta l4proto tcp dnat ip6 to ip6 daddr
  }
  chain claim-output {
    type nat hook output priority -110; policy accept;
    ${PASSED} meta l4proto tcp ct mark set ct mark or ${CLAIMED} meta mark set meta mark and 0xffff0000 or ${AS_PROXY}
  }
  chain guard {
    type filter hook prerouting priority -90; policy accept;
    ${NEITHER} accept
    ${REFUSED} meta l4proto tcp reject with tcp reset
    ${FIRST_PACKET} ct mark & ${CLAIMED} == ${CLAIMED} drop
    ${FIRST_PACKET} ct state invalid drop
    ${DOUBTED} meta l4proto tcp ct mark & ${CLAIMED} == ${CLAIMED} ct direction original reject with tcp reset
  }
  chain guard-output {
    type filter hook output priority -90; policy accept;
    ${FIRST_PACKET} ${NOT_PASSED} jump first-output
  }
  chain first-output {
    meta mark & 0x0000ffff == ${AS_PROXY} meta mark set meta mark and 0xffff0000 or 0x00004b4d accept
    ct mark & ${CLAIMED} == ${CLAIMED} drop
    meta oif != ${LOOPBACK} ct state invalid drop
  }
}
`;
