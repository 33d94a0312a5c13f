/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections between two enrolled pods of this node, each on an address that the daemon knows as
 * that pod's own: what is set on their sockets, and which may be redirected to. */
#pragma once

#include "address.h"
#include "exchange.h"
#include "kernel_types.h"

#include <bpf/bpf_core_read.h>

#define IPPROTO_TCP 6
#define TCP_CONGESTION 13
#define O_NONBLOCK 04000

static __always_inline bool is_within_node(const struct kmesh_flow *flow,
					   const struct kmesh_peer_key *key)
{
	__u64 *owner = bpf_map_lookup_elem(&pod_addresses, &key->local);

	if (!owner || *owner != flow->netns_cookie)
		return false;
	owner = bpf_map_lookup_elem(&pod_addresses, &key->remote);
	return owner && (*owner != flow->netns_cookie || kmesh_self_test);
}

/* No network is between the two that could be congested, and BBR's pacing halves the throughput of
 * bulk there and costs a timer for every burst. Who chose it for this socket or for the route keeps
 * it. */
static __always_inline void send_unpaced(struct bpf_sock_ops *ctx, struct tcp_sock *tcp)
{
	struct inet_connection_sock *connection = (struct inet_connection_sock *)tcp;
	const struct tcp_congestion_ops *algorithm = connection->icsk_ca_ops;
	char reno[] = "reno";

	if (algorithm->name[0] != 'b' || algorithm->name[1] != 'b' || algorithm->name[2] != 'r')
		return;
	if (BPF_CORE_READ_BITFIELD(connection, icsk_ca_setsockopt) ||
	    BPF_CORE_READ_BITFIELD(connection, icsk_ca_dst_locked))
		return;
	bpf_setsockopt(ctx, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno));
}

/* Whether the reads of a socket that was not accepted but opened do not wait. */
static __always_inline bool never_waits(struct tcp_sock *tcp)
{
	struct socket *socket = ((struct sock *)tcp)->sk_socket;
	struct file *file = socket ? socket->file : NULL;

	return file && file->f_flags & O_NONBLOCK;
}

static __always_inline void join_redirect(struct bpf_sock_ops *ctx, struct kmesh_flow *flow,
					  const struct kmesh_peer_key *wanted, struct tcp_sock *tcp)
{
	struct kmesh_peer_key key = *wanted;
	struct kmesh_settings *switches;
	struct connection connection;
	struct kmesh_exchange *exchange;
	__u64 hash, *joined;
	__u32 zero = 0, place;
	bool outbound;

	switches = bpf_map_lookup_elem(&settings, &zero);
	if (!switches || !switches->redirect)
		return;
	/* The client is established first, so its choice is the connection's. */
	outbound = flow->direction == KMESH_DIRECTION_OUTBOUND;
	if (outbound && !(never_waits(tcp) && is_worth_joining(&key)))
		return;
	name_connection(&key, &connection);
	hash = hash_connection(&connection);
	joined = last_joining(hash);
	if (!joined)
		return;
	if (outbound)
		*joined = bpf_ktime_get_ns();
	else if ((__s64)(flow->started_ns - *joined) > KMESH_JOINING_NS)
		return;
	flow->exchange_side = connection.side;
	flow->exchange = take_exchange(&connection, hash, tcp->copied_seq, outbound);
	exchange = find_exchange(flow);
	if (!exchange) {
		if (outbound)
			count_redirect(KMESH_REDIRECT_FULL, 1);
		return;
	}
	place = place_of(flow, connection.side);
	if (bpf_sock_map_update(ctx, &peers, &place, BPF_NOEXIST)) {
		leave_exchange(flow);
		count_redirect(KMESH_REDIRECT_FULL, 1);
		return;
	}
	/* Not earlier: until now another connection's socket may have been in that place. */
	exchange->flags[connection.side & 1] = KMESH_EXCHANGE_JOINED;
	count_redirect(KMESH_REDIRECT_JOINED, 1);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
}

/* Takes a connection that was given up out of the sock map, once nothing lies in its queues: what
 * is queued there would be lost. */
static __always_inline void settle_redirect(struct bpf_sock_ops *ctx, const struct kmesh_flow *flow)
{
	struct kmesh_exchange *exchange = find_exchange(flow);
	__u32 places[2];

	if (!exchange) {
		bpf_sock_ops_cb_flags_set(ctx,
					  ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_RTT_CB_FLAG);
		return;
	}
	if (!exchange->given_up_ns ||
	    bpf_ktime_get_ns() - exchange->given_up_ns < KMESH_REDIRECT_SETTLE_NS)
		return;
	if (!is_drained(&exchange->sides[0], &exchange->sides[1]) ||
	    !is_drained(&exchange->sides[1], &exchange->sides[0]))
		return;
	places[0] = place_of(flow, 0);
	places[1] = place_of(flow, 1);
	if (!bpf_map_delete_elem(&peers, &places[flow->exchange_side & 1]))
		count_redirect(KMESH_REDIRECT_GIVEN_UP, 1);
	bpf_map_delete_elem(&peers, &places[!(flow->exchange_side & 1)]);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_RTT_CB_FLAG);
}
