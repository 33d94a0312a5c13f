/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which sockets may be redirected to: both ends are enrolled pods of this node, each on an address
 * that the daemon knows as that pod's own. */
#pragma once

#include "address.h"
#include "exchange.h"
#include "kernel_types.h"

static __always_inline void join_redirect(struct bpf_sock_ops *ctx, struct kmesh_flow *flow,
					  const struct kmesh_peer_key *wanted)
{
	struct kmesh_peer_key key = *wanted;
	struct kmesh_settings *switches;
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tcp;
	__u64 *owner;
	__u32 zero = 0, side;
	bool outbound;

	switches = bpf_map_lookup_elem(&settings, &zero);
	if (!switches || !switches->redirect || !sk)
		return;
	owner = bpf_map_lookup_elem(&pod_addresses, &key.local);
	if (!owner || *owner != flow->netns_cookie)
		return;
	owner = bpf_map_lookup_elem(&pod_addresses, &key.remote);
	if (!owner || *owner == flow->netns_cookie)
		return;
	/* The client is established first, so its choice is the connection's. */
	outbound = flow->direction == KMESH_DIRECTION_OUTBOUND;
	if (outbound && !is_worth_joining(&key))
		return;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	side = side_of(&key);
	flow->exchange_side = side;
	flow->exchange = take_exchange(exchange_hash(&key, side), side, tcp->copied_seq, outbound);
	if (!flow->exchange) {
		if (outbound)
			count_redirect(KMESH_REDIRECT_FULL, 1);
		return;
	}
	if (bpf_sock_hash_update(ctx, &peers, &key, BPF_NOEXIST)) {
		leave_exchange(flow);
		count_redirect(KMESH_REDIRECT_FULL, 1);
		return;
	}
	count_redirect(KMESH_REDIRECT_JOINED, 1);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
}

/* Takes a connection that was given up out of the sock hash, once nothing lies in its queues: what
 * is queued there would be lost. */
static __always_inline void settle_redirect(struct bpf_sock_ops *ctx, struct kmesh_flow *flow,
					    struct kmesh_peer_key *key)
{
	struct kmesh_exchange *exchange = find_exchange(flow);
	struct kmesh_peer_key other = {};

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
	other.local = key->remote;
	other.remote = key->local;
	other.local_port_be = key->remote_port_be;
	other.remote_port_be = key->local_port_be;
	if (!bpf_map_delete_elem(&peers, key))
		count_redirect(KMESH_REDIRECT_GIVEN_UP, 1);
	bpf_map_delete_elem(&peers, &other);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_RTT_CB_FLAG);
}
