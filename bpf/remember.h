/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keeps a connect's decision until sockops sees the handshake begin, a few microseconds later in
 * the same system call, and creates a flow. Writing a line of a small table costs far less than
 * creating socket storage here, and a connect that fails before its SYN leaves nothing on the
 * socket.
 */
#pragma once

#include "dials.h"

#include <stdbool.h>

/* Returns the socket's line of `dials`, or NULL while another concurrent connect holds it. */
static __always_inline struct kmesh_dial *claim_dial(struct bpf_sock *sk)
{
	__u32 index = dial_index(sk);
	__u64 now = bpf_jiffies64(), seen;
	struct kmesh_dial *dial;

	dial = bpf_map_lookup_elem(&dials, &index);
	if (!dial)
		return NULL;
	seen = *(volatile __u64 *)&dial->socket;
	if (seen && seen != (__u64)sk && now - dial->written_jiffies < KMESH_DIAL_STALE_JIFFIES)
		return NULL;
	/* Timestamp before claim, so that another CPU does not see a stale claim; claimed
	 * atomically, because another CPU may have seen the slot free at the same time. */
	dial->written_jiffies = now;
	if (seen != (__u64)sk &&
	    __sync_val_compare_and_swap(&dial->socket, seen, (__u64)sk) != seen)
		return NULL;
	return dial;
}

static __always_inline void fill_dial(struct kmesh_dial *dial, const union kmesh_address *dialled,
				      __u16 port_be, __u32 service, __u32 workload, bool rewritten)
{
	dial->dialled = *dialled;
	dial->service = service;
	dial->workload = workload;
	dial->dialled_port_be = port_be;
	dial->path = KMESH_PATH_KERNEL;
	dial->rewritten = rewritten;
}

static __always_inline bool remember_on_socket(struct bpf_sock_addr *ctx,
					       const union kmesh_address *dialled, __u16 port_be,
					       __u64 netns_cookie, __u32 service, __u32 workload,
					       bool rewritten)
{
	struct kmesh_flow *flow =
	    bpf_sk_storage_get(&flows, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!flow)
		return false;
	/* From an earlier connection of this socket. */
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->dialled = *dialled;
	flow->dialled_port_be = port_be;
	flow->netns_cookie = netns_cookie;
	flow->service = service;
	flow->workload = workload;
	flow->path = KMESH_PATH_KERNEL;
	flow->rewritten = rewritten;
	return true;
}

/* If another connect holds the line, the socket gets its storage at once. */
static __always_inline bool remember(struct bpf_sock_addr *ctx, const union kmesh_address *dialled,
				     __u16 port_be, __u64 netns_cookie, __u32 service,
				     __u32 workload, bool rewritten)
{
	struct kmesh_dial *dial = claim_dial(ctx->sk);

	if (!dial)
		return remember_on_socket(ctx, dialled, port_be, netns_cookie, service, workload,
					  rewritten);
	fill_dial(dial, dialled, port_be, service, workload, rewritten);
	return true;
}

/* Removes what an earlier connect left behind that failed before its SYN, of
 * this socket or of another one at its address: it must not apply to this connect.
 */
static __noinline void forget(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 index = dial_index(sk);
	struct kmesh_dial *dial = bpf_map_lookup_elem(&dials, &index);
	struct kmesh_flow *flow = sk ? bpf_sk_storage_get(&flows, sk, 0, 0) : NULL;

	if (dial && dial->socket == (__u64)sk)
		dial->socket = 0;
	if (flow && flow->stage == KMESH_FLOW_DIALLED)
		__builtin_memset(flow, 0, sizeof(*flow));
}
