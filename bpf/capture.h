/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Marks: whose socket it is, and whether istio-cni's rules let it pass. */
#pragma once

#include "kmesh_maps.h"

#include <stdbool.h>

#define SOL_SOCKET 1
#define SO_MARK 36

/* One of the proxy's own sockets, which it has in the namespaces of pods. */
static __always_inline bool is_proxy(struct bpf_sock_addr *ctx)
{
	return ctx->sk && (ctx->sk->mark & KMESH_PROXY_MARK_MASK) == KMESH_PROXY_MARK;
}

/* Lets the connection past capture in its own pod. A mark that the application set stays. */
static __noinline bool pass_capture(struct bpf_sock_addr *ctx)
{
	__u32 mark = KMESH_MARK;

	if (!ctx->sk)
		return false;
	if (ctx->sk->mark)
		return (ctx->sk->mark & KMESH_MARK_MASK) == KMESH_MARK;
	return bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0;
}
