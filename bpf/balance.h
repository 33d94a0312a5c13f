/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The common case of a dial, with all of it in registers: the address and port are those of a
 * service, every namespace sees the same of it, and the chosen endpoint may be dialled as it is.
 *
 * Whatever is not exactly that is answered with NULL before anything is changed, and decided by the
 * general path of connect.bpf.c from the beginning, with the same draw.
 */
#pragma once

#include "address.h"
#include "capture.h"
#include "frontends.h"
#include "remember.h"
#include "stay.h"

#define PORT_DNS 53

static __always_inline __u64 read_decision(const union kmesh_decision *decision)
{
	return *(const volatile __u64 *)&decision->word;
}

/* One draw, of which there is one in a connect, serves both the slot and the comparison: the upper
 * half of draw x count is the slot, the lower half is what is left of the draw, uniform enough for
 * 2^32 over the endpoints of one service. */
static __always_inline struct kmesh_endpoint *choose_endpoint(__u64 range, __u32 draw)
{
	__u32 base = range, count = range >> 32, slot;
	struct kmesh_endpoint *endpoint;
	__u64 product;

	product = (__u64)draw * count;
	slot = base + (__u32)(product >> 32);
	endpoint = bpf_map_lookup_elem(&endpoints, &slot);
	if (!endpoint || (__u32)product < endpoint->threshold ||
	    endpoint->threshold == KMESH_THRESHOLD_ALWAYS)
		return endpoint;
	slot = base + endpoint->alias;
	return bpf_map_lookup_elem(&endpoints, &slot);
}

/* The endpoint to dial instead, remembered for sockops; or NULL. */
static __always_inline struct kmesh_endpoint *balance(struct bpf_sock_addr *ctx,
						      const struct kmesh_pod *pod,
						      const union kmesh_address dialled, __u32 draw)
{
	const __u16 port_be = ctx->user_port;
	const bool mapped = is_mapped(&dialled);
	struct bpf_sock *sk = ctx->sk;
	union kmesh_decision decision;
	struct kmesh_endpoint *endpoint;
	struct kmesh_frontend *frontend;
	struct kmesh_dial *dial;
	__u64 range;

	if (!sk || sk->src_port || is_loopback(&dialled) || is_proxy(sk))
		return NULL;
	if (pod->flags && port_be == bpf_htons(PORT_DNS))
		return NULL;

	frontend =
	    find_frontend(dialled.halves[0], dialled.halves[1], KMESH_FRONTEND_PLACE(0, port_be));
	if (!frontend)
		return NULL;
	decision.word = read_decision(&frontend->decision);
	range =
	    mapped ? *(volatile __u64 *)&frontend->range4 : *(volatile __u64 *)&frontend->range6;
	/* The action and no flag. */
	if ((__u32)decision.word != KMESH_FRONTEND_BALANCE || !(range >> 32))
		return NULL;

	endpoint = choose_endpoint(range, draw);
	if (!endpoint || !endpoint->port_be || is_mapped(&endpoint->address) != mapped ||
	    endpoint->flags & ~KMESH_ENDPOINT_VERDICT)
		return NULL;
	if (endpoint->flags && (!may_stay(ctx, pod, endpoint->workload, endpoint->port_be) ||
				is_unreachable(endpoint->workload, endpoint->port_be)))
		return NULL;
	if (pod->flags & KMESH_POD_CAPTURED && !pass_capture(ctx))
		return NULL;

	dial = claim_dial(sk);
	if (!dial)
		return NULL;
	/* Counted by sockops when it takes the dial over: this is the path that every balanced
	 * connection waits for. */
	fill_dial(dial, &dialled, port_be, decision.service, endpoint->workload, true);
	return endpoint;
}
