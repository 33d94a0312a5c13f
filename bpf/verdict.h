/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a connection may stay in the kernel. */
#pragma once

#include "address.h"
#include "kmesh_maps.h"

#include <stdbool.h>

static __always_inline bool is_allowed(__u32 workload, __u32 identity, __u16 port_be)
{
	struct kmesh_verdict_key key = {.workload = workload};
	__u32 *verdict;

	verdict = bpf_map_lookup_elem(&verdicts, &key);
	if (verdict && *verdict == KMESH_VERDICT_ALLOW)
		return true;
	key.identity = identity;
	key.port_be = port_be;
	verdict = bpf_map_lookup_elem(&verdicts, &key);
	if (!verdict) {
		key.port_be = 0;
		verdict = bpf_map_lookup_elem(&verdicts, &key);
	}
	return verdict && *verdict == KMESH_VERDICT_ALLOW;
}

/*
 * A socket that is bound to an address must be bound to its pod's own: whoever looks at the
 * connection later, by its addresses, would take the pod for another one.
 */
static __noinline bool has_own_source(struct bpf_sock_addr *ctx)
{
	union kmesh_address source = {};
	struct bpf_sock *sk = ctx->sk;
	__u64 *owner;

	if (!sk)
		return false;
	if (sk->family == AF_INET) {
		source.words[3] = sk->src_ip4;
		if (!source.words[3])
			return true;
		source.words[2] = bpf_htonl(0xffff);
	} else {
		source.words[0] = sk->src_ip6[0];
		source.words[1] = sk->src_ip6[1];
		source.words[2] = sk->src_ip6[2];
		source.words[3] = sk->src_ip6[3];
		if (!(source.halves[0] | source.halves[1]))
			return true;
	}
	owner = bpf_map_lookup_elem(&pod_addresses, &source);
	return owner && *owner == bpf_get_netns_cookie(ctx);
}

/* The verdict on the socket of a pod that dials a workload of this node. */
static __always_inline bool may_stay(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
				     __u32 workload, __u16 port_be)
{
	return is_allowed(workload, pod->identity, port_be) && has_own_source(ctx);
}
