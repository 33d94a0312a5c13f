// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc ingress on the interface of a captured pod: marks packets that the pod's table inet kmesh
 * exempts from capture, and those that it resets. Everything else, and all that is hard to parse,
 * is left to capture.
 *
 * Packets delivered by the wire have its mark already, which no other packet can have here: a mark
 * does not survive the passage between network namespaces in any other way.
 */
#include "kmesh_maps.h"
#include "judge.h"
#include "lease.h"
#include "packet.h"
#include "rejection.h"

#define NEXT -1
#define DROP 2

static __always_inline int mark(struct __sk_buff *skb, __u32 value)
{
	value |= skb->mark & ~KMESH_MARK_MASK;
	/* The context accepts whole words only; clang would store the changed half. */
	asm volatile("" : "+r"(value));
	skb->mark = value;
	return NEXT;
}

/* Returns whether a peer without an attested identity may use this port now: never one with the
 * address of a pod of this node. */
static __always_inline enum passage admit_stranger(const struct packet *packet)
{
	struct kmesh_owner *server;
	bool changing;

	if (find_owner(&packet->source))
		return PASSAGE_REFUSED;
	server = find_owner(&packet->destination);
	if (!server)
		return PASSAGE_REFUSED;
	changing = is_changing(server->workload);
	if (is_allowed(server->workload, KMESH_IDENTITY_NONE, packet->destination_port_be))
		return PASSAGE_ALLOWED;
	return changing || is_changing(server->workload) ? PASSAGE_UNDECIDED : PASSAGE_REFUSED;
}

/* A SYN that is not exempted from capture is marked as doubted: conntrack may hold an earlier
 * connection with its addresses and ports, whose translation would admit it. */
static __always_inline int admit_syn(struct __sk_buff *skb, struct kmesh_lease *lease,
				     const struct segment *segment, const struct packet *packet)
{
	if (has_expired(lease) || packet->carries_data)
		return mark(skb, KMESH_MARK_DOUBTED);
	switch (admit_opening(lease, segment, packet->sequence)) {
	case PASSAGE_ALLOWED:
		return mark(skb, KMESH_MARK);
	case PASSAGE_REFUSED:
		return mark(skb, KMESH_MARK_REFUSED);
	case PASSAGE_UNDECIDED:
		return DROP;
	case PASSAGE_UNKNOWN:
		break;
	}
	/* Connections that policies may deny in a moment are left to the proxy. */
	return mark(skb,
		    admit_stranger(packet) == PASSAGE_ALLOWED ? KMESH_MARK : KMESH_MARK_DOUBTED);
}

/* A later packet that the wire did not deliver: if its connection was exempted from capture it is
 * reset unless it may continue by another route. */
static __always_inline int admit_later(struct __sk_buff *skb, struct kmesh_lease *lease,
				       const struct segment *segment, const struct packet *packet)
{
	/* It carries no data and is not retransmitted. */
	bool expired = has_expired(lease), resets = packet->flags & TCP_RST;

	switch (admit_segment(lease, expired, segment, resets)) {
	case PASSAGE_REFUSED:
		return mark(skb, KMESH_MARK_REFUSED);
	case PASSAGE_ALLOWED:
		return NEXT;
	case PASSAGE_UNDECIDED:
		return resets ? NEXT : DROP;
	case PASSAGE_UNKNOWN:
		break;
	}
	/* Its sender has no such connection any more, and this pod's end would send for minutes. */
	if (resets)
		return NEXT;
	if (expired)
		return mark(skb, KMESH_MARK_DOUBTED);
	switch (admit_stranger(packet)) {
	case PASSAGE_ALLOWED:
		return NEXT;
	case PASSAGE_UNDECIDED:
		return DROP;
	default:
		return mark(skb, KMESH_MARK_DOUBTED);
	}
}

SEC("tc")
int kmesh_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct kmesh_lease *lease;
	struct segment segment;

	if ((skb->mark & KMESH_MARK_MASK) == KMESH_MARK ||
	    (skb->mark & KMESH_MARK_MASK) == KMESH_MARK_REFUSED)
		return NEXT;
	switch (read_packet(skb, &packet)) {
	case READ_OTHER:
		note_rejection(skb);
		return NEXT;
	case READ_UNCLEAR:
		return mark(skb, KMESH_MARK_DOUBTED);
	case READ_TCP:
	case READ_FRAGMENT:
		break;
	}
	if (is_tunnel_port(packet.destination_port_be))
		return NEXT;
	if (is_tunnel_port(packet.source_port_be))
		return is_syn(&packet) ? mark(skb, KMESH_MARK_DOUBTED) : NEXT;
	lease = find_lease();
	if (!lease)
		return NEXT;
	segment.source = &packet.source;
	segment.destination = &packet.destination;
	segment.source_port_be = packet.source_port_be;
	segment.destination_port_be = packet.destination_port_be;
	segment.interface = 0;
	return is_syn(&packet) ? admit_syn(skb, lease, &segment, &packet)
			       : admit_later(skb, lease, &segment, &packet);
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
