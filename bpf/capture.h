/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether istio-cni's rules let a socket's connection pass. */
#pragma once

#include "marks.h"

#include <stdbool.h>

/* Whatever an earlier connection of this socket, or the one of the listener that accepted it, was
 * allowed: this one is not. */
static __always_inline void stay_captured(struct bpf_sock_addr *ctx)
{
	__u32 mark;

	if (!ctx->sk || !has_passed(ctx->sk))
		return;
	mark = ctx->sk->mark & ~KMESH_MARK_MASK;
	bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* Lets the connection past capture in its own pod. A mark that the application set stays. */
static __noinline bool pass_capture(struct bpf_sock_addr *ctx)
{
	__u32 mark = KMESH_MARK;

	if (!ctx->sk)
		return false;
	if (ctx->sk->mark)
		return has_passed(ctx->sk);
	return bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0;
}
