// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sockops: turns the decision of the connect hook into a flow on the socket, and reports each
 * connection of an enrolled pod once, when it fails or closes. Nothing is decided here: if
 * a record does not fit into the ring it is counted and the connection continues.
 */
#include "kmesh_maps.h"
#include "address.h"
#include "counters.h"
#include "dials.h"
#include "handoff.h"
#include "judge.h"
#include "kernel_types.h"
#include "lease.h"
#include "live.h"
#include "marks.h"
#include "measure.h"
#include "packet.h"
#include "pods.h"
#include "report.h"
#include "sockops_context.h"
#include "within_node.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

/* The same in every network namespace. */
#define LOOPBACK_IFINDEX 1

static __always_inline struct kmesh_flow *create_flow(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct kmesh_flow *flow = bpf_sk_storage_get(&flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	/* A reconnected socket still has its last flow. */
	if (flow && flow->stage != KMESH_FLOW_DIALLED)
		__builtin_memset(flow, 0, sizeof(*flow));
	return flow;
}

/* Copies the wire's state of an established connection. */
static __always_inline void attest(struct kmesh_flow *flow, const struct kmesh_peer_key *socket)
{
	bool inbound = flow->direction == KMESH_DIRECTION_INBOUND, client_is_high;
	struct segment segment = {&socket->local, &socket->remote, socket->local_port_be,
				  socket->remote_port_be, 0};
	struct kmesh_connection *connection;
	struct kmesh_connection_key key;

	client_is_high = make_key(&segment, &key) == inbound;
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection || !connection->answered || connection->client_is_high != client_is_high)
		return;
	flow->attested = true;
	if (inbound)
		flow->peer_identity = connection->client_identity;
}

/*
 * Returns whether a connection that was cut is denied now, which is then the reason. Checked
 * when it ends, so that the record is right however soon the next packet followed the change.
 */
static __always_inline bool is_denied(const struct kmesh_flow *flow,
				      const struct kmesh_peer_key *socket, const struct sock *sk)
{
	bool inbound = flow->direction == KMESH_DIRECTION_INBOUND;
	struct kmesh_owner *client, *server;

	if (!flow->attested || (sk->sk_err != ECONNRESET && sk->sk_err != EPIPE &&
				sk->sk_err != ECONNREFUSED && sk->sk_err != ECONNABORTED))
		return false;
	client = find_owner(inbound ? &socket->remote : &socket->local);
	server = find_owner(inbound ? &socket->local : &socket->remote);
	return client && server &&
	       ask(client, server, inbound ? socket->local_port_be : socket->remote_port_be) ==
		   PASSAGE_REFUSED;
}

/* Takes over the connect hook's decision for this socket. */
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
	dial->socket = 0;
}

/*
 * With MPTCP the application has a separate socket above the one that connects. It answers
 * getpeername, so it gets the dialled address, too.
 */
static __always_inline void copy_to_owner(struct bpf_sock *sk, const struct kmesh_flow *flow)
{
	struct mptcp_sock *owner;
	struct kmesh_flow *owned;

	if (!bpf_core_type_exists(struct mptcp_sock) ||
	    !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_skc_to_mptcp_sock))
		return;
	owner = bpf_skc_to_mptcp_sock(sk);
	if (!owner)
		return;
	owned =
	    bpf_sk_storage_get(&flows, owner, 0, flow->rewritten ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!owned)
		return;
	owned->dialled = flow->dialled;
	owned->dialled_port_be = flow->dialled_port_be;
	owned->rewritten = flow->rewritten;
}

static __always_inline bool is_self(const struct kmesh_peer_key *key)
{
	return key->local.halves[0] == key->remote.halves[0] &&
	       key->local.halves[1] == key->remote.halves[1];
}

/* Returns the path of a connection, so that only one path reports it. */
static __always_inline __u8 path_of(const struct bpf_sock *sk, const struct kmesh_pod *pod,
				    const struct kmesh_flow *flow, const struct kmesh_peer_key *key)
{
	if (!flow->rewritten && (is_loopback(&key->remote) || is_self(key)))
		return KMESH_PATH_OUTSIDE;
	if (!(pod->flags & KMESH_POD_CAPTURED))
		return KMESH_PATH_KERNEL;
	if (flow->direction == KMESH_DIRECTION_INBOUND)
		return is_tunnel_port(key->local_port_be) ? KMESH_PATH_TUNNEL : KMESH_PATH_KERNEL;
	return has_passed(sk) ? KMESH_PATH_KERNEL : KMESH_PATH_TUNNEL;
}

static __always_inline __s32 arrival_interface(struct tcp_sock *tcp)
{
	struct sock *sk = (struct sock *)tcp;

	if (bpf_core_field_exists(sk->sk_rx_dst_ifindex))
		return sk->sk_rx_dst_ifindex;
	return ((struct inet_sock *)tcp)->rx_dst_ifindex;
}

/* A pod may have redirect rules that the daemon does not know. Then the peer is a proxy in this
 * pod: packets arrive on loopback, from an address that is not the pod's own. */
static __always_inline bool is_redirected(struct tcp_sock *tcp, const struct kmesh_peer_key *key)
{
	return arrival_interface(tcp) == LOOPBACK_IFINDEX && !is_self(key);
}

/* Returns whether the connect hook redirected this connect to the proxy of its pod. */
static __always_inline bool take_handoff(struct bpf_sock_ops *ctx, __u64 netns_cookie,
					 struct kmesh_flow *flow)
{
	struct kmesh_peer_key key = {};

	if (read_remote_port(ctx) != bpf_htons(KMESH_PORT_OUTBOUND) && !is_handed(flow))
		return false;
	read_key(ctx, &key);
	return announce_handoff(&key, netns_cookie, flow);
}

/* Returns whether a SYN of this socket has neither data nor IP options. */
static __always_inline bool is_plain(const struct tcp_sock *tcp)
{
	return !tcp || (!tcp->fastopen_req && !((const struct inet_sock *)tcp)->inet_opt);
}

/*
 * The SYN may be sent long after connect, by another system call: the permission is
 * checked again, and the exemption from capture removed if it is gone. The same applies to a socket
 * with data or IP options for its SYN: the other pod would leave that to capture, as a stranger's.
 */
static __always_inline void reconsider(struct bpf_sock_ops *ctx, struct bpf_sock *sk,
				       const struct kmesh_pod *pod,
				       const struct kmesh_peer_key *key)
{
	struct kmesh_owner *server;
	struct tcp_sock *tcp;
	__u32 mark;

	if (!has_passed(sk))
		return;
	server = find_owner(&key->remote);
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!server || (pod->identity && is_plain(tcp) &&
			is_allowed(server->workload, pod->identity, key->remote_port_be)))
		return;
	mark = sk->mark & ~KMESH_MARK_MASK;
	bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

static __always_inline void start_outbound(struct bpf_sock_ops *ctx)
{
	__u64 netns_cookie = bpf_get_netns_cookie(ctx);
	struct kmesh_peer_key key = {};
	struct bpf_sock *sk = ctx->sk;
	struct kmesh_flow *flow;
	struct kmesh_pod *pod;
	bool handed;

	pod = find_pod(netns_cookie);
	if (!pod || !sk || is_proxy(sk) || !is_leased())
		return;
	flow = create_flow(ctx, sk);
	if (!flow)
		return;
	take_dial(sk, flow);
	handed = take_handoff(ctx, netns_cookie, flow);
	if (handed) {
		/* Counted by the connect hook. */
	} else if (flow->rewritten) {
		count(KMESH_REASON_KERNEL_BALANCED);
	} else {
		read_remote(ctx, &flow->dialled);
		flow->dialled_port_be = read_remote_port(ctx);
	}
	copy_to_owner(sk, flow);
	flow->netns_cookie = netns_cookie;
	flow->started_ns = bpf_ktime_get_ns();
	flow->direction = KMESH_DIRECTION_OUTBOUND;
	read_key(ctx, &key);
	if (!handed)
		reconsider(ctx, sk, pod, &key);
	if (flow->path == KMESH_PATH_TUNNEL && flow->workload)
		announce_pick(&key, netns_cookie, flow);
	flow->path = handed ? KMESH_PATH_TUNNEL : path_of(sk, pod, flow, &key);
	flow->stage = KMESH_FLOW_CONNECTING;
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/*
 * With net.ipv4.tcp_fwmark_accept a socket gets the mark of the first packet: of the pod's proxy,
 * if that dialled. Dissolved and connected again, it would leave the pod as if it were the
 * proxy's, which no application without privileges may do.
 */
static __always_inline void disown(struct bpf_sock_ops *ctx, const struct bpf_sock *sk)
{
	__u32 mark = sk->mark & ~KMESH_PROXY_MARK_MASK;

	if (!is_tunnel_port(bpf_htons(ctx->local_port)))
		bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

static __always_inline struct kmesh_flow *start_inbound(struct bpf_sock_ops *ctx)
{
	__u64 netns_cookie = bpf_get_netns_cookie(ctx);
	struct kmesh_peer_key key = {};
	struct bpf_sock *sk = ctx->sk;
	struct kmesh_flow *flow;
	struct kmesh_pod *pod;
	struct tcp_sock *tcp;

	pod = find_pod(netns_cookie);
	if (!pod || !sk || !is_leased())
		return NULL;
	if (is_proxy(sk)) {
		disown(ctx, sk);
		return NULL;
	}
	read_key(ctx, &key);
	tcp = bpf_skc_to_tcp_sock(sk);
	/* From the pod's proxy, which reports it: neither storage nor further runs. */
	if (tcp && !is_loopback(&key.remote) && is_redirected(tcp, &key)) {
		send_unpaced(ctx, tcp);
		return NULL;
	}
	flow = create_flow(ctx, sk);
	if (!flow)
		return NULL;
	read_local(ctx, &flow->dialled);
	flow->dialled_port_be = bpf_htons(ctx->local_port);
	flow->netns_cookie = netns_cookie;
	flow->started_ns = bpf_ktime_get_ns();
	flow->workload = pod->workload;
	flow->direction = KMESH_DIRECTION_INBOUND;
	flow->path = path_of(sk, pod, flow, &key);
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
	if (flow->path == KMESH_PATH_KERNEL)
		attest(flow, &key);
	if (tcp && is_reported(flow))
		begin_live(ctx, sk, flow);
	report(ctx, flow, tcp, KMESH_EVENT_OPENED, 0, false);
	if (tcp && (flow->attested || is_handed(flow)))
		send_unpaced(ctx, tcp);
}

static __always_inline void closed(struct bpf_sock_ops *ctx, __u32 old_state)
{
	struct kmesh_flow *flow = find_flow(ctx);
	struct kmesh_peer_key key = {};
	struct tcp_sock *tcp;
	struct bpf_sock *sk;
	__u8 stage;

	if (!flow || flow->stage == KMESH_FLOW_DIALLED)
		return;
	/* Final report; a further connect on this socket starts anew. The stage is changed
	 * before the record is written: after the record no reader finds a live flow. */
	stage = flow->stage;
	*(volatile __u8 *)&flow->stage = KMESH_FLOW_REPORTED;
	__sync_lock_test_and_set(&flow->ended, 1);
	read_key(ctx, &key);
	sk = ctx->sk;
	tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	if (stage == KMESH_FLOW_CONNECTING && flow->path == KMESH_PATH_KERNEL)
		attest(flow, &key);
	report(ctx, flow, tcp,
	       stage == KMESH_FLOW_ESTABLISHED ? KMESH_EVENT_CLOSED : KMESH_EVENT_FAILED, old_state,
	       tcp && is_denied(flow, &key, (struct sock *)tcp));
	end_live(sk, flow);
	if (stage == KMESH_FLOW_CONNECTING && is_handed(flow))
		withdraw_handoff(&key, flow);
}

/*
 * A socket's counters include FINs as bytes. The kernel changes the state in the same hold of the
 * socket's lock, so a reader of the counters and then the flow can tell; see live.bpf.c.
 */
static __always_inline void finishing(struct bpf_sock_ops *ctx, __u32 state)
{
	struct kmesh_flow *flow = find_flow(ctx);

	if (flow)
		flow->tcp_state = state;
}

static __always_inline void state_changed(struct bpf_sock_ops *ctx, __u32 from, __u32 to)
{
	switch (to) {
	case BPF_TCP_CLOSE:
		closed(ctx, from);
		break;
	case BPF_TCP_FIN_WAIT1:
	case BPF_TCP_CLOSE_WAIT:
	case BPF_TCP_LAST_ACK:
	case BPF_TCP_CLOSING:
		finishing(ctx, to);
		break;
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
		state_changed(ctx, ctx->args[0], ctx->args[1]);
		break;
	}
	return 1;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
