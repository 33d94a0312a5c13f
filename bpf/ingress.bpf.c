// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc ingress on the interface of a captured pod: marks the packets that capture must leave alone.
 * The pod's table inet kmesh does not track marked packets, so no redirect applies to them.
 *
 * A packet is let through for what this machine knows, never for what it carries: its socket has
 * our mark, or the connect hook allowed its handshake, or the verdict is allow for a peer that
 * nobody vouches for. Everything else, and all that is hard to read, is left to capture.
 */
#include "kmesh_maps.h"
#include "address.h"
#include "pods.h"
#include "verdict.h"

#include <bpf/bpf_endian.h>

#define NEXT -1
#define ETH_LENGTH 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define LENGTH_WITHOUT_OPTIONS 5
#define NEXT_HEADER_FRAGMENT 44
#define FRAGMENT_OFFSET4 0x1fff
#define FRAGMENT_OFFSET6 0xfff8
#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define PORT_OUTBOUND 15001
#define PORT_INBOUND 15006
#define PORT_HBONE 15008

struct parsed {
	struct kmesh_peer_key handshake; /* local: who sent the packet */
	struct bpf_sock_tuple tuple;
	__u32 tuple_size;
	__u8 tcp_flags;
};

static __always_inline bool parse_tcp(struct __sk_buff *skb, __u32 offset, struct parsed *packet)
{
	__u8 flags;

	if (bpf_skb_load_bytes(skb, offset, &packet->handshake.local_port_be, 4) ||
	    bpf_skb_load_bytes(skb, offset + 13, &flags, 1))
		return false;
	packet->tcp_flags = flags;
	return true;
}

static __always_inline bool parse4(struct __sk_buff *skb, struct parsed *packet)
{
	struct {
		__u8 version, service;
		__u16 length, id, fragment;
		__u8 ttl, protocol;
		__u16 checksum;
		__u32 source, destination;
		/* Of TCP, when the header has no options: all in one call. */
		__u16 source_port, destination_port;
		__u32 sequence, acknowledgement;
		__u8 offset, flags;
	} __attribute__((packed, aligned(4))) header;

	if (bpf_skb_load_bytes(skb, ETH_LENGTH, &header, sizeof(header)))
		return false;
	/* The first fragment gives its mark to the whole, which is put together before raw. */
	if (header.protocol != IPPROTO_TCP || (header.fragment & bpf_htons(FRAGMENT_OFFSET4)))
		return false;
	packet->handshake.local.words[2] = bpf_htonl(0xffff);
	packet->handshake.local.words[3] = header.source;
	packet->handshake.remote.words[2] = bpf_htonl(0xffff);
	packet->handshake.remote.words[3] = header.destination;
	if ((header.version & 0xf) == LENGTH_WITHOUT_OPTIONS) {
		packet->handshake.local_port_be = header.source_port;
		packet->handshake.remote_port_be = header.destination_port;
		packet->tcp_flags = header.flags;
	} else if (!parse_tcp(skb, ETH_LENGTH + (header.version & 0xf) * 4, packet)) {
		return false;
	}
	packet->tuple.ipv4.saddr = header.source;
	packet->tuple.ipv4.daddr = header.destination;
	packet->tuple.ipv4.sport = packet->handshake.local_port_be;
	packet->tuple.ipv4.dport = packet->handshake.remote_port_be;
	packet->tuple_size = sizeof(packet->tuple.ipv4);
	return true;
}

static __always_inline bool parse6(struct __sk_buff *skb, struct parsed *packet)
{
	struct {
		__u8 next_header, reserved;
		__u16 offset;
	} fragment;
	__u32 tcp = ETH_LENGTH + 40;
	__u8 next_header;

	if (bpf_skb_load_bytes(skb, ETH_LENGTH + 6, &next_header, 1))
		return false;
	if (next_header == NEXT_HEADER_FRAGMENT) {
		if (bpf_skb_load_bytes(skb, tcp, &fragment, sizeof(fragment)) ||
		    (fragment.offset & bpf_htons(FRAGMENT_OFFSET6)))
			return false;
		next_header = fragment.next_header;
		tcp += 8;
	}
	if (next_header != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, ETH_LENGTH + 8, &packet->handshake.local, 16) ||
	    bpf_skb_load_bytes(skb, ETH_LENGTH + 24, &packet->handshake.remote, 16) ||
	    !parse_tcp(skb, tcp, packet))
		return false;
	__builtin_memcpy(packet->tuple.ipv6.saddr, &packet->handshake.local, 16);
	__builtin_memcpy(packet->tuple.ipv6.daddr, &packet->handshake.remote, 16);
	packet->tuple.ipv6.sport = packet->handshake.local_port_be;
	packet->tuple.ipv6.dport = packet->handshake.remote_port_be;
	packet->tuple_size = sizeof(packet->tuple.ipv6);
	return true;
}

enum owner { OWNER_MARKED, OWNER_OTHER, OWNER_NONE };

/* Whose the packet is: of a connected socket with our mark, of another one, or of none yet. */
static __always_inline enum owner find_owner(struct __sk_buff *skb, struct parsed *packet)
{
	enum owner owner = OWNER_NONE;
	struct bpf_sock *found, *sk;

	found = bpf_skc_lookup_tcp(skb, &packet->tuple, packet->tuple_size, BPF_F_CURRENT_NETNS, 0);
	if (!found)
		return OWNER_NONE;
	sk = bpf_sk_fullsock(found);
	if (sk && sk->state != BPF_TCP_LISTEN)
		owner = (sk->mark & KMESH_MARK_MASK) == KMESH_MARK ? OWNER_MARKED : OWNER_OTHER;
	bpf_sk_release(found);
	return owner;
}

static __always_inline bool may_knock(const struct parsed *packet)
{
	__u64 *cookie = bpf_map_lookup_elem(&pod_addresses, &packet->handshake.remote);
	struct kmesh_pod *pod = cookie ? find_pod(*cookie) : NULL;

	return pod && pod->workload &&
	       is_allowed(pod->workload, KMESH_IDENTITY_NONE, packet->handshake.remote_port_be);
}

static __always_inline bool is_ours(struct __sk_buff *skb, struct parsed *packet)
{
	__u16 port = bpf_ntohs(packet->handshake.remote_port_be);
	__u32 one = 1;

	if (port == PORT_OUTBOUND || port == PORT_INBOUND || port == PORT_HBONE)
		return false;
	switch (find_owner(skb, packet)) {
	case OWNER_MARKED:
		return true;
	case OWNER_OTHER:
		return false;
	case OWNER_NONE:
		break;
	}
	if (bpf_map_lookup_elem(&handshakes, &packet->handshake))
		return true;
	if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return bpf_map_lookup_elem(&knocks, &packet->handshake) != NULL;
	return may_knock(packet) &&
	       bpf_map_update_elem(&knocks, &packet->handshake, &one, BPF_ANY) == 0;
}

SEC("tc")
int kmesh_ingress(struct __sk_buff *skb)
{
	struct parsed packet = {};
	__u32 mark;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (!parse4(skb, &packet))
			return NEXT;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (!parse6(skb, &packet))
			return NEXT;
	} else {
		return NEXT;
	}
	if (!is_ours(skb, &packet))
		return NEXT;
	mark = (skb->mark & ~KMESH_MARK_MASK) | KMESH_MARK;
	/* The context takes whole words only; clang would store the changed half. */
	asm volatile("" : "+r"(mark));
	skb->mark = mark;
	return NEXT;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
