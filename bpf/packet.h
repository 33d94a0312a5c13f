/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A TCP packet as parsed by the programs at interfaces. */
#pragma once

#include "address.h"
#include "kmesh_maps.h"

#include <bpf/bpf_endian.h>
#include <stdbool.h>

#define ETH_LENGTH 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define IP_FRAGMENT 0x3fff /* more fragments, or not the first */
#define IP_FRAGMENT_OFFSET 0x1fff
#define IP6_FRAGMENT_OFFSET 0xfff8
#define IPPROTO_FRAGMENT 44
#define TCP_LENGTH 20
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* Ports of a pod's proxy (ambient contract 4): they belong to the tunnel path. */
#define PORT_OUTBOUND 15001
#define PORT_INBOUND 15006
#define PORT_HBONE 15008

struct packet {
	union kmesh_address source;
	union kmesh_address destination;
	__u16 source_port_be;
	__u16 destination_port_be;
	__u32 sequence, acknowledgement;
	__u8 flags;
	bool carries_data;
};

enum reading {
	READ_OTHER,    /* not TCP, or a fragment other than the first */
	READ_TCP,      /* plain TCP */
	READ_FRAGMENT, /* the first fragment of TCP; the others are read as READ_OTHER */
	READ_UNCLEAR,  /* possibly TCP: headers in between, or a truncated header */
};

struct ipv4_header {
	__u8 version, service;
	__u16 length_be, id, fragment_be;
	__u8 lifetime, protocol;
	__u16 checksum;
	__u32 source, destination;
};

struct ipv6_header {
	__u8 version[4];
	__u16 length_be;
	__u8 next_header, hops;
	__u8 source[16], destination[16];
};

struct ipv6_fragment_header {
	__u8 next_header, reserved;
	__u16 offset_be;
	__u32 id;
};

struct tcp_header {
	__u16 source_port_be, destination_port_be;
	__u32 sequence, acknowledgement;
	__u8 offset, flags;
	__u16 window, checksum, urgent;
};

static __always_inline bool is_tunnel_port(__u16 port_be)
{
	return port_be == bpf_htons(PORT_HBONE) || port_be == bpf_htons(PORT_INBOUND) ||
	       port_be == bpf_htons(PORT_OUTBOUND);
}

/* Makes this many bytes readable by direct packet access. */
static __always_inline bool is_linear(struct __sk_buff *skb, __u32 length)
{
	return skb->data + length <= skb->data_end || !bpf_skb_pull_data(skb, length);
}

static __always_inline void read_tcp(const struct tcp_header *tcp, __u32 length,
				     struct packet *packet)
{
	packet->source_port_be = tcp->source_port_be;
	packet->destination_port_be = tcp->destination_port_be;
	packet->sequence = tcp->sequence;
	packet->acknowledgement = tcp->acknowledgement;
	packet->flags = tcp->flags;
	packet->carries_data = length > (__u32)(tcp->offset >> 4) * 4;
}

static __always_inline enum reading read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv4_header *ip;
	struct tcp_header *tcp;

	if (!is_linear(skb, ETH_LENGTH + sizeof(*ip) + sizeof(*tcp))) {
		__u8 protocol;

		return bpf_skb_load_bytes(skb, ETH_LENGTH + 9, &protocol, 1) ||
			       protocol != IPPROTO_TCP
			   ? READ_OTHER
			   : READ_UNCLEAR;
	}
	ip = (void *)(long)skb->data + ETH_LENGTH;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
		return READ_OTHER;
	if (ip->protocol != IPPROTO_TCP)
		return READ_OTHER;
	packet->source.words[2] = bpf_htonl(0xffff);
	packet->source.words[3] = ip->source;
	packet->destination.words[2] = bpf_htonl(0xffff);
	packet->destination.words[3] = ip->destination;
	if (ip->fragment_be & bpf_htons(IP_FRAGMENT_OFFSET))
		return READ_OTHER;
	if (ip->version != 0x45)
		return READ_UNCLEAR;
	read_tcp(tcp, bpf_ntohs(ip->length_be) - sizeof(*ip), packet);
	if (!(ip->fragment_be & bpf_htons(IP_FRAGMENT)))
		return READ_TCP;
	packet->carries_data = true;
	return READ_FRAGMENT;
}

/* Returns whether TCP may follow this header, or it cannot be excluded. */
static __always_inline bool may_hide_tcp(__u8 next_header)
{
	return next_header == 0 || next_header == 43 || next_header == IPPROTO_FRAGMENT ||
	       next_header == 51 || next_header == 60 || next_header == 135;
}

/* The first of several fragments, or the only one. */
static __always_inline enum reading read_ipv6_fragment(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6_fragment_header header;
	struct ipv6_header *ip;
	struct tcp_header *tcp;

	if (bpf_skb_load_bytes(skb, ETH_LENGTH + sizeof(*ip), &header, sizeof(header)) ||
	    header.offset_be & bpf_htons(IP6_FRAGMENT_OFFSET))
		return READ_OTHER;
	if (header.next_header != IPPROTO_TCP)
		return may_hide_tcp(header.next_header) ? READ_UNCLEAR : READ_OTHER;
	if (!is_linear(skb, ETH_LENGTH + sizeof(*ip) + sizeof(header) + sizeof(*tcp)))
		return READ_UNCLEAR;
	ip = (void *)(long)skb->data + ETH_LENGTH;
	tcp = (void *)(ip + 1) + sizeof(header);
	if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
		return READ_UNCLEAR;
	__builtin_memcpy(&packet->source, ip->source, 16);
	__builtin_memcpy(&packet->destination, ip->destination, 16);
	read_tcp(tcp, bpf_ntohs(ip->length_be), packet);
	packet->carries_data = true;
	return READ_FRAGMENT;
}

static __always_inline enum reading read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6_header *ip;
	struct tcp_header *tcp;
	__u8 next_header;

	if (bpf_skb_load_bytes(skb, ETH_LENGTH + 6, &next_header, 1))
		return READ_OTHER;
	if (next_header == IPPROTO_FRAGMENT)
		return read_ipv6_fragment(skb, packet);
	if (next_header != IPPROTO_TCP && !may_hide_tcp(next_header))
		return READ_OTHER;
	if (!is_linear(skb, ETH_LENGTH + sizeof(*ip) + sizeof(*tcp)))
		return READ_UNCLEAR;
	ip = (void *)(long)skb->data + ETH_LENGTH;
	tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > (void *)(long)skb->data_end)
		return READ_UNCLEAR;
	__builtin_memcpy(&packet->source, ip->source, 16);
	__builtin_memcpy(&packet->destination, ip->destination, 16);
	if (next_header != IPPROTO_TCP)
		return READ_UNCLEAR;
	read_tcp(tcp, bpf_ntohs(ip->length_be), packet);
	return READ_TCP;
}

/* `packet` must be zero. Fragments are reassembled before any rule of the pod sees them: the
 * result has the first one's header and mark, so that one is judged for all. */
static __always_inline enum reading read_packet(struct __sk_buff *skb, struct packet *packet)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_ipv4(skb, packet);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return read_ipv6(skb, packet);
	/* The kernel has removed one VLAN tag. It removes a second one after this program, and then
	 * the IP stack gets the packet. */
	if (skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD))
		return READ_UNCLEAR;
	return READ_OTHER;
}

/* Returns whether this is a SYN without anything that could have been added on the way and that the
 * server would take for the client's data. */
static __always_inline bool is_syn(const struct packet *packet)
{
	return (packet->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

static __always_inline bool is_syn_answer(const struct packet *packet)
{
	return (packet->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == (TCP_SYN | TCP_ACK);
}
