/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Both endpoints of a connection, from the context of sockops. */
#pragma once

#include "kmesh_maps.h"
#include "address.h"

#include <bpf/bpf_endian.h>

/* Otherwise clang merges the loads of both branches into one from a computed context pointer, which
 * the verifier rejects. */
static __always_inline void keep_branches_apart(void)
{
	asm volatile("" ::: "memory");
}

static __always_inline void read_local(struct bpf_sock_ops *ctx, union kmesh_address *address)
{
	if (ctx->family == AF_INET) {
		address->halves[0] = 0;
		address->words[2] = bpf_htonl(0xffff);
		address->words[3] = ctx->local_ip4;
		keep_branches_apart();
		return;
	}
	address->words[0] = ctx->local_ip6[0];
	address->words[1] = ctx->local_ip6[1];
	address->words[2] = ctx->local_ip6[2];
	address->words[3] = ctx->local_ip6[3];
}

static __always_inline void read_remote(struct bpf_sock_ops *ctx, union kmesh_address *address)
{
	if (ctx->family == AF_INET) {
		address->halves[0] = 0;
		address->words[2] = bpf_htonl(0xffff);
		address->words[3] = ctx->remote_ip4;
		keep_branches_apart();
		return;
	}
	address->words[0] = ctx->remote_ip6[0];
	address->words[1] = ctx->remote_ip6[1];
	address->words[2] = ctx->remote_ip6[2];
	address->words[3] = ctx->remote_ip6[3];
}

/* The field holds a 16-bit port in network order in its upper half. */
static __always_inline __u16 read_remote_port(struct bpf_sock_ops *ctx)
{
	return bpf_htons(bpf_ntohl(ctx->remote_port));
}

static __always_inline void read_key(struct bpf_sock_ops *ctx, struct kmesh_peer_key *key)
{
	read_local(ctx, &key->local);
	read_remote(ctx, &key->remote);
	key->local_port_be = bpf_htons(ctx->local_port);
	key->remote_port_be = read_remote_port(ctx);
	/* Compare it in memory: eight bytes at once cannot be read from the
	 * context. */
	asm volatile("" ::"r"(key) : "memory");
}
