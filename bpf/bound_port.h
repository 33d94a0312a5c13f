/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Sockets that are bound to a port. Two services may share a backend, to which the kernel allows
 * only one connection from one port: without a mesh a program may dial both, as they are two
 * addresses. So if the endpoint cannot be reached from this port the tunnel path serves the
 * connection, for which the pod's own address, or the dialled one, is still free.
 */
#pragma once

#include "address.h"
#include "kmesh_maps.h"

#include <bpf/bpf_endian.h>
#include <stdbool.h>

/* Reads the address to which a socket is bound; returns false if it is not bound to one. */
static __always_inline bool read_source(const struct bpf_sock *sk, union kmesh_address *source)
{
	if (sk->family == AF_INET) {
		source->halves[0] = 0;
		source->words[2] = bpf_htonl(0xffff);
		source->words[3] = sk->src_ip4;
		return source->words[3] != 0;
	}
	source->words[0] = sk->src_ip6[0];
	source->words[1] = sk->src_ip6[1];
	source->words[2] = sk->src_ip6[2];
	source->words[3] = sk->src_ip6[3];
	return source->halves[0] || source->halves[1];
}

/* Returns whether a connection between these two exists already, by the kernel's lookup for a
 * packet of the peer. */
static __noinline bool has_connection(struct bpf_sock_addr *ctx, const union kmesh_address *own,
				      const union kmesh_address *peer, __u16 peer_port_be)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = ctx->sk, *other;
	bool v4, found;

	if (!sk || !own || !peer)
		return false;
	v4 = is_mapped(peer);
	if (v4) {
		tuple.ipv4.saddr = peer->words[3];
		tuple.ipv4.daddr = own->words[3];
		tuple.ipv4.sport = peer_port_be;
		tuple.ipv4.dport = bpf_htons(sk->src_port);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, peer, sizeof(*peer));
		__builtin_memcpy(tuple.ipv6.daddr, own, sizeof(*own));
		tuple.ipv6.sport = peer_port_be;
		tuple.ipv6.dport = bpf_htons(sk->src_port);
	}
	other = bpf_skc_lookup_tcp(ctx, &tuple, v4 ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6),
				   BPF_F_CURRENT_NETNS, 0);
	if (!other)
		return false;
	found = other->state != BPF_TCP_LISTEN;
	bpf_sk_release(other);
	return found;
}

/* Returns whether a bound socket cannot reach a peer from its port. `unknown` is the result if its
 * source address is not known. */
static __noinline bool is_port_taken(struct bpf_sock_addr *ctx, __u64 netns_cookie,
				     const union kmesh_address *peer, __u16 peer_port_be,
				     bool unknown)
{
	struct kmesh_handoff_pod *pod;
	struct bpf_sock *sk = ctx->sk;
	union kmesh_address own = {};

	if (!sk || !peer || !sk->src_port)
		return false;
	if (!read_source(sk, &own)) {
		pod = bpf_map_lookup_elem(&handoff_pods, &netns_cookie);
		if (!pod)
			return unknown;
		own = is_mapped(peer) ? pod->address4 : pod->address6;
	}
	return has_connection(ctx, &own, peer, peer_port_be);
}
