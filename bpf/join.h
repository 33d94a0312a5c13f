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

	switches = bpf_map_lookup_elem(&settings, &zero);
	if (!switches || !switches->redirect || !sk)
		return;
	owner = bpf_map_lookup_elem(&pod_addresses, &key.local);
	if (!owner || *owner != flow->netns_cookie)
		return;
	owner = bpf_map_lookup_elem(&pod_addresses, &key.remote);
	if (!owner || *owner == flow->netns_cookie)
		return;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	side = side_of(&key);
	flow->exchange_side = side;
	flow->exchange = take_exchange(exchange_hash(&key, side), side, tcp->copied_seq);
	if (!flow->exchange) {
		count_redirect(KMESH_REDIRECT_FULL, 1);
		return;
	}
	if (bpf_sock_hash_update(ctx, &peers, &key, BPF_NOEXIST)) {
		leave_exchange(flow);
		count_redirect(KMESH_REDIRECT_FULL, 1);
		return;
	}
	count_redirect(KMESH_REDIRECT_JOINED, 1);
}
