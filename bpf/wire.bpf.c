// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * tc ingress on the node's side of an enrolled pod's interface: identifies the sender by the
 * interface, which is out of the pod's reach.
 *
 * The SYN of a connection to another enrolled pod of this node is judged, and takes the
 * node's usual way, so that a NetworkPolicy of the CNI sees it. Every later packet is judged, too,
 * and delivered directly into the other pod: no port of the node's bridge can read, alter or answer
 * it. A packet that is no longer allowed is delivered with a mark by which the pod resets the
 * connection; an RST passes, because it carries no data and its sender is gone. Packets of other
 * connections are not touched.
 */
#include "kmesh_maps.h"
#include "blocked_port.h"
#include "counters.h"
#include "judge.h"
#include "lease.h"
#include "packet.h"

#define NEXT -1
#define DROP 2
#define PACKET_HOST 0

static __always_inline void set_mark(struct __sk_buff *skb, __u32 mark)
{
	mark |= skb->mark & ~KMESH_MARK_MASK;
	/* The context accepts whole words only; clang would store the changed half. */
	asm volatile("" : "+r"(mark));
	skb->mark = mark;
}

/* The next hop's on the node's network; the pod's own if both are on one bridge. */
static __always_inline void address_frame(struct __sk_buff *skb, const __u8 *mac)
{
	__u16 *frame = (void *)(long)skb->data, wanted[3];

	__builtin_memcpy(wanted, mac, sizeof(wanted));
	if ((void *)(frame + 3) > (void *)(long)skb->data_end)
		return;
	if (frame[0] != wanted[0] || frame[1] != wanted[1] || frame[2] != wanted[2])
		bpf_skb_store_bytes(skb, 0, wanted, sizeof(wanted), 0);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
}

static __always_inline int send_across(struct __sk_buff *skb, const struct delivery *delivery,
				       bool passes)
{
	if (!passes)
		count_wire(KMESH_WIRE_REFUSED);
	set_mark(skb, passes ? KMESH_MARK : KMESH_MARK_REFUSED);
	address_frame(skb, delivery->mac);
	return bpf_redirect_peer(delivery->interface, 0);
}

static __always_inline int open_at_wire(struct __sk_buff *skb, struct kmesh_lease *lease,
					bool expired, const struct segment *segment,
					const struct packet *packet)
{
	struct kmesh_peer_key ends = {};
	struct delivery delivery = {};

	/* Data before the handshake would take the node's way, where it can be altered. */
	expired |= packet->carries_data;
	switch (open_connection(lease, expired, segment, packet->sequence)) {
	case OPENING_REPEATED:
		ends.local = packet->source;
		ends.remote = packet->destination;
		ends.local_port_be = packet->source_port_be;
		ends.remote_port_be = packet->destination_port_be;
		report_unreachable(&ends);
		return NEXT;
	case OPENING_ALLOWED:
		count_wire(KMESH_WIRE_OPENED);
		return NEXT;
	case OPENING_CAPTURED:
		return NEXT;
	case OPENING_UNDECIDED:
		return DROP;
	case OPENING_REFUSED:
		break;
	}
	/* The entry is there, or the pod that it leads to is gone. */
	deliver(lease, true, segment, &delivery);
	return delivery.passage == PASSAGE_REFUSED ? send_across(skb, &delivery, false) : NEXT;
}

SEC("tc")
int kmesh_wire(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct segment segment;
	struct delivery delivery = {};
	struct kmesh_lease *lease;
	bool expired, passes, resets;

	/* Fragments take the node's way: delivering the first would vouch for the others. */
	if (read_packet(skb, &packet) != READ_TCP || is_tunnel_port(packet.source_port_be) ||
	    is_tunnel_port(packet.destination_port_be))
		return NEXT;
	lease = find_lease();
	if (!lease)
		return NEXT;
	expired = has_expired(lease);
	segment.source = &packet.source;
	segment.destination = &packet.destination;
	segment.source_port_be = packet.source_port_be;
	segment.destination_port_be = packet.destination_port_be;
	segment.interface = skb->ifindex;
	if (is_syn(&packet))
		return open_at_wire(skb, lease, expired, &segment, &packet);
	if (is_syn_answer(&packet))
		end_earlier(&segment, packet.acknowledgement);
	deliver(lease, expired, &segment, &delivery);
	if (delivery.passage == PASSAGE_UNKNOWN)
		return NEXT;
	/* Resets are not retransmitted. */
	resets = packet.flags & TCP_RST;
	if (delivery.passage == PASSAGE_UNDECIDED && !resets)
		return DROP;
	passes = delivery.passage == PASSAGE_ALLOWED || resets;
	return passes && !delivery.delivered ? NEXT : send_across(skb, &delivery, passes);
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
