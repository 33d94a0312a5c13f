/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether istio-cni's rules exempt a socket's connection. */
#pragma once

#include "marks.h"

#include <stdbool.h>

/* Removes the exemption that an earlier connection of this socket, or of the listener that accepted
 * it, had. */
static __always_inline void stay_captured(struct bpf_sock_addr *ctx)
{
	__u32 mark;

	if (!ctx->sk || !has_passed(ctx->sk))
		return;
	mark = ctx->sk->mark & ~KMESH_MARK_MASK;
	bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* Exempts the connection from capture in its own pod. A mark that the application set is preserved.
 */
static __noinline bool pass_capture(struct bpf_sock_addr *ctx)
{
	__u32 mark = KMESH_MARK;

	if (!ctx->sk)
		return false;
	if (ctx->sk->mark)
		return has_passed(ctx->sk);
	return bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0;
}
