// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sockops: turns the decision of the connect hook into a flow on the socket, and reports each
 * connection of an enrolled pod once, when it fails or closes. Nothing here decides anything: when
 * a record does not fit into the ring it is counted and the connection goes on.
 */
#include "kmesh_maps.h"
#include "address.h"
#include "counters.h"
#include "dials.h"
#include "handoff.h"
#include "kernel_types.h"
#include "measure.h"
#include "pods.h"
#include "report.h"
#include "sockops_context.h"
#include "within_node.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define SOL_SOCKET 1
#define SO_MARK 36

/* In every network namespace. */
#define LOOPBACK_IFINDEX 1

static __always_inline struct kmesh_flow *create_flow(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct kmesh_flow *flow = bpf_sk_storage_get(&flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	/* A socket that is connected again still carries its last flow. */
	if (flow && flow->stage != KMESH_FLOW_DIALLED)
		__builtin_memset(flow, 0, sizeof(*flow));
	return flow;
}

/*
 * Tells the program at the dialled pod's interface that the connect hook allowed this handshake.
 * Not from the address of another pod, which routes may have chosen: the peer is a stranger then.
 */
static __always_inline void announce(struct bpf_sock_ops *ctx)
{
	struct kmesh_peer_key key = {};
	__u64 *owner;
	__u32 one = 1;

	read_key(ctx, &key);
	owner = bpf_map_lookup_elem(&pod_addresses, &key.local);
	if (owner && *owner != bpf_get_netns_cookie(ctx))
		return;
	bpf_map_update_elem(&handshakes, &key, &one, BPF_ANY);
}

static __always_inline void withdraw(struct bpf_sock_ops *ctx)
{
	struct kmesh_peer_key key = {};

	read_key(ctx, &key);
	bpf_map_delete_elem(&handshakes, &key);
}

/* What this accepted socket sends passes capture as what it received did. */
static __always_inline void pass_replies(struct bpf_sock_ops *ctx)
{
	struct kmesh_peer_key key = {};
	__u32 mark = KMESH_MARK;

	read_remote(ctx, &key.local);
	read_local(ctx, &key.remote);
	key.local_port_be = read_remote_port(ctx);
	key.remote_port_be = bpf_htons(ctx->local_port);
	if (bpf_map_delete_elem(&handshakes, &key)) {
		if (bpf_map_delete_elem(&knocks, &key))
			return;
		mark = KMESH_MARK_STRANGER;
	}
	bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* Takes over what the connect hook wrote for this socket. */
static __always_inline void take_dial(const struct bpf_sock *sk, struct kmesh_flow *flow)
{
	__u32 index = dial_index(sk);
	struct kmesh_dial *dial = bpf_map_lookup_elem(&dials, &index);

	if (!dial || dial->socket != (__u64)sk)
		return;
	flow->dialled = dial->dialled;
	flow->dialled_port_be = dial->dialled_port_be;
	flow->service = dial->service;
	flow->workload = dial->workload;
	flow->path = dial->path;
	flow->rewritten = dial->rewritten;
	flow->handshake = dial->handshake;
	dial->socket = 0;
}

static __always_inline bool is_self(const struct kmesh_peer_key *key)
{
	return key->local.halves[0] == key->remote.halves[0] &&
	       key->local.halves[1] == key->remote.halves[1];
}

/*
 * Which path a connection takes, so that no connection is reported by both. Capture redirects
 * whatever has not our mark, to the proxy or from it; the mark is set before this is asked.
 */
static __always_inline __u8 path_of(struct bpf_sock_ops *ctx, const struct bpf_sock *sk,
				    const struct kmesh_pod *pod, const struct kmesh_flow *flow)
{
	struct kmesh_peer_key key = {};

	read_key(ctx, &key);
	if (!flow->rewritten && (is_loopback(&key.remote) || is_self(&key)))
		return KMESH_PATH_OUTSIDE;
	if ((pod->flags & KMESH_POD_CAPTURED) && (sk->mark & KMESH_MARK_MASK) != KMESH_MARK)
		return KMESH_PATH_TUNNEL;
	return KMESH_PATH_KERNEL;
}

static __always_inline __s32 arrival_interface(struct tcp_sock *tcp)
{
	struct sock *sk = (struct sock *)tcp;

	if (bpf_core_field_exists(sk->sk_rx_dst_ifindex))
		return sk->sk_rx_dst_ifindex;
	return ((struct inet_sock *)tcp)->rx_dst_ifindex;
}

/* A pod may have rules that nobody told us of. Then the other end is a proxy in this pod: packets
 * come by loopback, from an address that is not the pod's own. */
static __always_inline bool is_redirected(struct tcp_sock *tcp, const struct kmesh_peer_key *key)
{
	return arrival_interface(tcp) == LOOPBACK_IFINDEX && !is_self(key);
}

static __always_inline bool is_proxy(const struct bpf_sock *sk)
{
	return (sk->mark & KMESH_PROXY_MARK_MASK) == KMESH_PROXY_MARK;
}

/* Whether this connect goes to the proxy of its pod by the connect hook's doing. */
static __always_inline bool take_handoff(struct bpf_sock_ops *ctx, __u64 netns_cookie,
					 struct kmesh_flow *flow)
{
	struct kmesh_peer_key key = {};

	if (read_remote_port(ctx) != bpf_htons(KMESH_PORT_OUTBOUND) && !is_handed(flow))
		return false;
	read_key(ctx, &key);
	return announce_handoff(&key, netns_cookie, flow);
}

static __always_inline void start_outbound(struct bpf_sock_ops *ctx)
{
	__u64 netns_cookie = bpf_get_netns_cookie(ctx);
	struct bpf_sock *sk = ctx->sk;
	struct kmesh_flow *flow;
	struct kmesh_pod *pod;
	bool handed;

	pod = find_pod(netns_cookie);
	if (!pod || !sk || is_proxy(sk))
		return;
	flow = create_flow(ctx, sk);
	if (!flow)
		return;
	take_dial(sk, flow);
	handed = take_handoff(ctx, netns_cookie, flow);
	if (flow->handshake)
		announce(ctx);
	if (handed) {
		/* Counted by the connect hook. */
	} else if (flow->rewritten) {
		count(KMESH_REASON_KERNEL_BALANCED);
	} else {
		read_remote(ctx, &flow->dialled);
		flow->dialled_port_be = read_remote_port(ctx);
	}
	flow->netns_cookie = netns_cookie;
	flow->started_ns = bpf_ktime_get_ns();
	flow->path = handed ? KMESH_PATH_TUNNEL : path_of(ctx, sk, pod, flow);
	flow->direction = KMESH_DIRECTION_OUTBOUND;
	flow->stage = KMESH_FLOW_CONNECTING;
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline struct kmesh_flow *start_inbound(struct bpf_sock_ops *ctx)
{
	__u64 netns_cookie = bpf_get_netns_cookie(ctx);
	struct bpf_sock *sk = ctx->sk;
	struct kmesh_flow *flow;
	struct kmesh_pod *pod;

	pod = find_pod(netns_cookie);
	if (!pod || !sk || is_proxy(sk))
		return NULL;
	flow = create_flow(ctx, sk);
	if (!flow)
		return NULL;
	read_local(ctx, &flow->dialled);
	flow->dialled_port_be = bpf_htons(ctx->local_port);
	flow->netns_cookie = netns_cookie;
	flow->started_ns = bpf_ktime_get_ns();
	flow->workload = pod->workload;
	if (pod->flags & KMESH_POD_CAPTURED)
		pass_replies(ctx);
	flow->path = path_of(ctx, sk, pod, flow);
	flow->direction = KMESH_DIRECTION_INBOUND;
	flow->stage = KMESH_FLOW_CONNECTING;
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	return flow;
}

static __always_inline struct kmesh_flow *find_flow(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&flows, sk, 0, 0) : NULL;
}

static __always_inline void established(struct bpf_sock_ops *ctx, struct kmesh_flow *flow)
{
	struct kmesh_peer_key key = {};
	struct tcp_sock *tcp;
	struct bpf_sock *sk;

	if (!flow || flow->stage != KMESH_FLOW_CONNECTING)
		return;
	read_key(ctx, &key);
	sk = ctx->sk;
	tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (tcp && flow->path == KMESH_PATH_KERNEL && is_redirected(tcp, &key))
		flow->path = KMESH_PATH_TUNNEL;
	flow->stage = KMESH_FLOW_ESTABLISHED;
	report(ctx, flow, tcp, KMESH_EVENT_OPENED, 0);
	if (tcp && flow->path == KMESH_PATH_KERNEL && is_within_node(flow, &key))
		send_unpaced(ctx, tcp);
}

static __always_inline void closed(struct bpf_sock_ops *ctx, __u32 old_state)
{
	struct kmesh_flow *flow = find_flow(ctx);
	struct bpf_sock *sk;
	__u8 stage;

	if (!flow || flow->stage == KMESH_FLOW_DIALLED)
		return;
	/* Reported for good; a further connect on this socket starts anew. The stage is changed
	 * before the record looks for a cookie, and a walk gives the cookie before it looks at the
	 * stage: either the walk sees that this is the end, or the record names what the walk saw.
	 */
	stage = flow->stage;
	*(volatile __u8 *)&flow->stage = KMESH_FLOW_REPORTED;
	__sync_lock_test_and_set(&flow->ended, 1);
	sk = ctx->sk;
	report(ctx, flow, sk ? bpf_skc_to_tcp_sock(sk) : NULL,
	       stage == KMESH_FLOW_ESTABLISHED ? KMESH_EVENT_CLOSED : KMESH_EVENT_FAILED,
	       old_state);
	if (flow->handshake)
		withdraw(ctx);
	if (stage == KMESH_FLOW_CONNECTING && is_handed(flow)) {
		struct kmesh_peer_key key = {};

		read_key(ctx, &key);
		withdraw_handoff(&key, flow);
	}
}

SEC("sockops")
int kmesh_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		start_outbound(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		established(ctx, find_flow(ctx));
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		established(ctx, start_inbound(ctx));
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			closed(ctx, ctx->args[0]);
		break;
	}
	return 1;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
