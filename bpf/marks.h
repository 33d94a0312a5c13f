/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Classification of sockets by their mark. */
#pragma once

#include "kmesh_maps.h"

#include <stdbool.h>

#define SOL_SOCKET 1
#define SO_MARK 36

/* Returns whether it is one of the proxy's own sockets in the namespaces of pods. */
static __always_inline bool is_proxy(const struct bpf_sock *sk)
{
	return sk && (sk->mark & KMESH_PROXY_MARK_MASK) == KMESH_PROXY_MARK;
}

/* Returns whether a connection of this socket was exempted from capture. */
static __always_inline bool has_passed(const struct bpf_sock *sk)
{
	return (sk->mark & KMESH_MARK_MASK) == KMESH_MARK;
}
