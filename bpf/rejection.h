/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors by which the node's network rejects first packets. */
#pragma once

#include "blocked_port.h"
#include "packet.h"

#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58
#define ICMP_UNREACHABLE 3
#define ICMPV6_UNREACHABLE 1

/* An ICMP error with the beginning of the packet that it answers. */
struct icmp4_error {
	__u8 type, code;
	__u16 rest[3];
	struct ipv4_header ip;
	__u16 source_port_be, destination_port_be;
	__u32 sequence;
};

struct icmp6_error {
	__u8 type, code;
	__u16 rest[3];
	struct ipv6_header ip;
	__u16 source_port_be, destination_port_be;
	__u32 sequence;
};

static __always_inline bool read_error4(struct __sk_buff *skb, struct kmesh_peer_key *ends,
					__u32 *sequence)
{
	struct icmp4_error error;
	__u8 protocol;

	if (bpf_skb_load_bytes(skb, ETH_LENGTH + 9, &protocol, 1) || protocol != IPPROTO_ICMP)
		return false;
	if (bpf_skb_load_bytes(skb, ETH_LENGTH + sizeof(error.ip), &error, sizeof(error)) ||
	    error.type != ICMP_UNREACHABLE || error.ip.version != 0x45 ||
	    error.ip.protocol != IPPROTO_TCP)
		return false;
	ends->local.words[2] = ends->remote.words[2] = bpf_htonl(0xffff);
	ends->local.words[3] = error.ip.source;
	ends->remote.words[3] = error.ip.destination;
	ends->local_port_be = error.source_port_be;
	ends->remote_port_be = error.destination_port_be;
	*sequence = error.sequence;
	return true;
}

static __always_inline bool read_error6(struct __sk_buff *skb, struct kmesh_peer_key *ends,
					__u32 *sequence)
{
	struct icmp6_error error;
	__u8 next_header;

	if (bpf_skb_load_bytes(skb, ETH_LENGTH + 6, &next_header, 1) ||
	    next_header != IPPROTO_ICMPV6)
		return false;
	if (bpf_skb_load_bytes(skb, ETH_LENGTH + sizeof(error.ip), &error, sizeof(error)) ||
	    error.type != ICMPV6_UNREACHABLE || error.ip.next_header != IPPROTO_TCP)
		return false;
	__builtin_memcpy(&ends->local, error.ip.source, 16);
	__builtin_memcpy(&ends->remote, error.ip.destination, 16);
	ends->local_port_be = error.source_port_be;
	ends->remote_port_be = error.destination_port_be;
	*sequence = error.sequence;
	return true;
}

/*
 * A packet that is not TCP arrives at a pod. A NetworkPolicy of the CNI may reject a first packet
 * with an ICMP error instead of dropping it: then no retransmission follows that would show it.
 */
static __noinline int note_rejection(struct __sk_buff *skb)
{
	struct kmesh_connection *connection;
	struct kmesh_connection_key key;
	struct kmesh_peer_key ends = {};
	struct segment segment = {&ends.local, &ends.remote, 0, 0, 0};
	__u32 sequence;
	bool lower;

	if (!(skb->protocol == bpf_htons(ETH_P_IP) && read_error4(skb, &ends, &sequence)) &&
	    !(skb->protocol == bpf_htons(ETH_P_IPV6) && read_error6(skb, &ends, &sequence)))
		return 0;
	segment.source_port_be = ends.local_port_be;
	segment.destination_port_be = ends.remote_port_be;
	lower = make_key(&segment, &key);
	connection = bpf_map_lookup_elem(&connections, &key);
	if (connection && !connection->answered && connection->sequence == sequence &&
	    connection->client_is_high != lower)
		report_unreachable(&ends);
	return 0;
}
