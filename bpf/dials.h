/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a socket's entry in `dials` is. The key is the socket's address in the kernel, which both
 * hooks have at hand: giving the socket a cookie in the connect hook costs about 20 ns, as much as
 * the whole choice of an endpoint.
 */
#pragma once

#include "kmesh_maps.h"

/* A 32-bit move of a pointer leaves a plain number to the verifier, if the loader may see kernel
 * addresses; in C the move would be optimised away, and arithmetic on the pointer itself is
 * refused. */
static __always_inline __u32 dial_index(const struct bpf_sock *sk)
{
	__u64 low;

	asm volatile("r0 = %1; w0 = w0; %0 = r0" : "=r"(low) : "r"(sk) : "r0");

	/* Sockets are slab objects: multiples of 64, and neighbours are some kilobytes apart. */
	return (((__u32)low * 0x9e3779b1u) >> 16) & (KMESH_DIALS - 1);
}
