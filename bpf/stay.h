/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a connect may stay in the kernel. */
#pragma once

#include "address.h"
#include "bound_port.h"
#include "kmesh_maps.h"
#include "unreachable.h"
#include "verdicts.h"

#include <stdbool.h>

/*
 * A socket that is bound to an address must be bound to its pod's own: otherwise a later
 * lookup by the connection's addresses would find another pod.
 */
static __noinline bool has_own_source(struct bpf_sock_addr *ctx)
{
	union kmesh_address source = {};
	struct bpf_sock *sk = ctx->sk;
	struct kmesh_owner *owner;

	if (!sk)
		return false;
	if (!read_source(sk, &source))
		return true;
	owner = bpf_map_lookup_elem(&pod_addresses, &source);
	return owner && owner->netns_cookie == bpf_get_netns_cookie(ctx);
}

/*
 * Returns whether a pod's socket may dial a workload of this node, bypassing its own capture. This
 * permits nothing: the packets are judged where they leave the pod, and where they
 * arrive.
 */
static __always_inline bool may_stay(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
				     __u32 workload, __u16 port_be)
{
	return pod->identity && is_allowed(workload, pod->identity, port_be) && has_own_source(ctx);
}

/*
 * A pod may be the endpoint of the service that it dials. Packets of such a connection do not leave
 * the pod: nothing attests their sender, and nothing would judge them again when policies change.
 */
static __always_inline bool is_own(const struct kmesh_pod *pod, __u32 workload)
{
	return pod->workload == workload;
}
