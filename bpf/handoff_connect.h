/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The connect hook's part of the hand-off described in handoff.h. */
#pragma once

#include "bound_port.h"
#include "handoff.h"

struct sockaddr_in {
	__u16 sin_family;
	__u16 sin_port;
	__u32 sin_addr;
	__u8 sin_zero[8];
};

struct sockaddr_in6 {
	__u16 sin6_family;
	__u16 sin6_port;
	__u32 sin6_flowinfo;
	__u32 sin6_addr[4];
	__u32 sin6_scope_id;
};

enum handoff {
	HANDOFF_OFF,	/* not used for this destination */
	HANDOFF_DONE,	/* the peer is the pod's proxy now */
	HANDOFF_FAILED, /* left to capture */
};

static __always_inline bool is_none(const union kmesh_address *address)
{
	return !address->halves[0] && !address->halves[1];
}

/* fe80::/10 is only meaningful on the interface that the application specified. */
static __always_inline bool is_link_local(const union kmesh_address *address)
{
	return (address->words[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/* A connect for the tunnel path. */
struct tunnelled {
	const struct kmesh_pod *pod;
	const union kmesh_address *dialled;
	__u64 netns_cookie;
	__u32 pick; /* workload of the chosen endpoint; 0: none */
};

/* Records for sockops, later in the same system call, that this connect goes to the proxy, directly
 * or by capture, and which endpoint the proxy must serve. */
static __noinline bool remember_handoff(struct bpf_sock_addr *ctx, const struct tunnelled *connect,
					bool handed)
{
	struct kmesh_flow *flow =
	    bpf_sk_storage_get(&flows, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!flow)
		return false;
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->dialled = *connect->dialled;
	flow->dialled_port_be = ctx->user_port;
	flow->netns_cookie = connect->netns_cookie;
	flow->workload = connect->pick;
	flow->path = KMESH_PATH_TUNNEL;
	flow->rewritten = handed;
	return true;
}

/* Returns whether capture ignores it as well: a pod that dials itself; or no proxy could dial it.
 */
static __always_inline bool is_left_alone(const struct kmesh_handoff_pod *pod,
					  const union kmesh_address *dialled)
{
	return is_same(dialled, &pod->address4) || is_same(dialled, &pod->address6) ||
	       is_link_local(dialled);
}

/* Returns whether a bound socket already has a connection to the proxy from its port. */
static __always_inline bool is_proxy_taken(struct bpf_sock_addr *ctx,
					   const union kmesh_address *own)
{
	return ctx->sk && ctx->sk->src_port &&
	       has_connection(ctx, own, own, bpf_htons(KMESH_PORT_OUTBOUND));
}

static __noinline enum handoff hand_off4(struct bpf_sock_addr *ctx, const struct tunnelled *connect)
{
	struct kmesh_handoff_pod *pod = bpf_map_lookup_elem(&handoff_pods, &connect->netns_cookie);
	const union kmesh_address *dialled = connect->dialled;
	struct sockaddr_in own = {.sin_family = AF_INET};
	struct bpf_sock *sk = ctx->sk;
	__u32 bound;

	if (!pod)
		return HANDOFF_FAILED;
	if (is_left_alone(pod, dialled))
		return HANDOFF_OFF;
	own.sin_addr = pod->address4.words[3];
	if (!own.sin_addr || !sk || is_proxy_taken(ctx, &pod->address4))
		return HANDOFF_FAILED;
	bound = sk->src_ip4;
	if (bound ? bound != own.sin_addr : bpf_bind(ctx, (void *)&own, sizeof(own)) != 0)
		return HANDOFF_FAILED;
	if (!remember_handoff(ctx, connect, true))
		return HANDOFF_FAILED;
	ctx->user_ip4 = own.sin_addr;
	ctx->user_port = bpf_htons(KMESH_PORT_OUTBOUND);
	return HANDOFF_DONE;
}

static __noinline enum handoff hand_off6(struct bpf_sock_addr *ctx, const struct tunnelled *connect)
{
	struct kmesh_handoff_pod *pod = bpf_map_lookup_elem(&handoff_pods, &connect->netns_cookie);
	const union kmesh_address *dialled = connect->dialled;
	struct sockaddr_in6 own = {.sin6_family = AF_INET6};
	union kmesh_address bound, address;
	struct bpf_sock *sk = ctx->sk;

	if (!pod)
		return HANDOFF_FAILED;
	if (is_left_alone(pod, dialled))
		return HANDOFF_OFF;
	address = is_mapped(dialled) ? pod->address4 : pod->address6;
	if (is_none(&address) || !sk || is_proxy_taken(ctx, &address))
		return HANDOFF_FAILED;
	bound.words[0] = sk->src_ip6[0];
	bound.words[1] = sk->src_ip6[1];
	bound.words[2] = sk->src_ip6[2];
	bound.words[3] = sk->src_ip6[3];
	if (!is_none(&bound)) {
		if (!is_same(&bound, &address))
			return HANDOFF_FAILED;
	} else {
		own.sin6_addr[0] = address.words[0];
		own.sin6_addr[1] = address.words[1];
		own.sin6_addr[2] = address.words[2];
		own.sin6_addr[3] = address.words[3];
		if (bpf_bind(ctx, (void *)&own, sizeof(own)))
			return HANDOFF_FAILED;
	}
	if (!remember_handoff(ctx, connect, true))
		return HANDOFF_FAILED;
	ctx->user_ip6[0] = address.words[0];
	ctx->user_ip6[1] = address.words[1];
	ctx->user_ip6[2] = address.words[2];
	ctx->user_ip6[3] = address.words[3];
	ctx->user_port = bpf_htons(KMESH_PORT_OUTBOUND);
	return HANDOFF_DONE;
}
