import { randomBytes } from 'node:crypto';

/** Removing what may not be there: `add` makes it so that `delete` cannot fail. */
export const CAPTURE_TABLE_REMOVAL = 'add table inet kmesh\ndelete table inet kmesh\n';

/** A chain of this name says whose the table is: of two daemons that serve a pod after each other, the later one's. */
const OWNER_CHAIN = `owner-${randomBytes(6).toString('hex')}`;

/** Fails as a whole where another daemon has written the table anew. */
export const OWN_TABLE_REMOVAL = `delete chain inet kmesh ${OWNER_CHAIN}\ndelete table inet kmesh\n`;

/** Marks of bpf/kmesh_config.h; only their sixteen bits are looked at. */
const PASSED = 'meta mark & 0x0000ffff == 0x00004b4d';
const NOT_PASSED = 'meta mark & 0x0000ffff != 0x00004b4d';
const DOUBTED = 'meta mark & 0x0000ffff == 0x00004b4e';
const REFUSED = 'meta mark & 0x0000ffff == 0x00004b4f';
const NEITHER = 'meta mark & 0x0000fffe != 0x00004b4e';

const FIRST_PACKET = 'tcp flags & (syn | ack) == syn';

/** Index of the loopback interface in every network namespace: compared as a number, which costs far less than a name. */
const LOOPBACK = 1;

/** One bit of the connection's mark: let past capture by `claim` or `claim-output`. The others stay as they are. */
const CLAIMED = '0x40000000';

/**
 * The table `inet kmesh` of a pod. A table of its own: istio-cni flushes and rewrites its tables without asking.
 *
 * - `claim` and `claim-output`, before istio-cni's chains: a connection that may pass capture is translated to the address
 *   that it has. That claims the translation, of which each connection has one, so no redirect applies later; and the
 *   connection stays tracked, for rules that look at that.
 * - `guard`, after all translation: resets what the programs at the interfaces say may not go on. What they doubt is only
 *   reset where it was let past capture into this pod: else the proxy decides.
 * - `guard` and `guard-output`: a reset by its server leaves a connection in tracking for ten seconds, with its claim. A first
 *   packet with its addresses and ports that may not pass capture waits until that is gone: then capture gets it.
 * - `handoff`: between an application and its proxy nothing is tracked; on loopback a packet stays untracked where it arrives.
 *   The proxy's answers to what capture redirected come from 127.0.0.1 or ::1.
 *
 * All but the nat chains see each packet, so their first rule lets go what the others are not about.
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
    ${PASSED} meta l4proto tcp ct mark set ct mark or ${CLAIMED}
    ${PASSED} meta nfproto ipv4 meta l4proto tcp dnat ip to ip daddr
    ${PASSED} meta nfproto ipv6 meta l4proto tcp dnat ip6 to ip6 daddr
  }
  chain guard {
    type filter hook prerouting priority -90; policy accept;
    ${NEITHER} accept
    ${REFUSED} meta l4proto tcp reject with tcp reset
    ${FIRST_PACKET} ct mark & ${CLAIMED} == ${CLAIMED} drop
    ${DOUBTED} meta l4proto tcp ct mark & ${CLAIMED} == ${CLAIMED} ct direction original reject with tcp reset
  }
  chain guard-output {
    type filter hook output priority -90; policy accept;
    ${FIRST_PACKET} ct mark & ${CLAIMED} == ${CLAIMED} ${NOT_PASSED} drop
  }
}
`;
