/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Index of a socket's entry in `dials`. The key is the socket's kernel address, which is available
 * in both hooks: allocating a cookie in the connect hook costs about 20 ns, as much as the whole
 * choice of an endpoint.
 */
#pragma once

#include "kmesh_maps.h"

/* A 32-bit move of a pointer is a scalar to the verifier, if the loader may see kernel
 * addresses; in C the move would be optimised away, and the verifier rejects arithmetic on the
 * pointer itself. */
static __always_inline __u32 dial_index(const struct bpf_sock *sk)
{
	__u64 low;

	asm volatile("r0 = %1; w0 = w0; %0 = r0" : "=r"(low) : "r"(sk) : "r0");

	/* Sockets are slab objects: multiples of 64, with neighbours some kilobytes apart. */
	return (((__u32)low * 0x9e3779b1u) >> 16) & (KMESH_DIALS - 1);
}
