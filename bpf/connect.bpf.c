// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup/connect4 and connect6: looks up the dialled address, chooses an endpoint and the
 * path.
 *
 * Only TCP sockets of enrolled pods are affected. Anything that the tables do not decide for
 * certain is left to the tunnel path, with the dialled address unchanged (README.md, "One draw").
 */
#include "kmesh_maps.h"
#include "address.h"
#include "counters.h"
#include "balance.h"
#include "bound_port.h"
#include "capture.h"
#include "frontends.h"
#include "handoff_connect.h"
#include "lease.h"
#include "pods.h"
#include "refusals.h"
#include "remember.h"
#include "stay.h"

#include <bpf/bpf_endian.h>

#define ECONNREFUSED 111

/* cgroup/connect supports bpf_set_retval since Linux 6.1; without it a refusal shows as EPERM.
 */
const volatile __u32 kmesh_has_set_retval = 1;

/* TUNNEL, and CAPTURE for connects that cannot be handed over, are internal: the programs return
 * LEAVE or REFUSE. */
enum { LEAVE = 1, REFUSE = 0, TUNNEL = 2, CAPTURE = 3 };

static __always_inline int leave(__u32 reason)
{
	count(reason);
	return LEAVE;
}

static __always_inline int refuse(struct bpf_sock_addr *ctx, const union kmesh_address *dialled,
				  __u16 port_be, __u32 reason)
{
	count(reason);
	report_refusal(ctx, dialled, port_be, reason);
	if (kmesh_has_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* Result for an address without a frontend. */
#define UNKNOWN 0xffff

static __always_inline struct kmesh_frontend *find_scoped(struct kmesh_frontend_key *key,
							  __u16 port_be, __u32 client_namespace)
{
	struct kmesh_frontend *found, *scoped;
	union kmesh_decision decision;

	key->place = KMESH_FRONTEND_PLACE(0, port_be);
	found = find_entry(key);
	if (!found)
		return NULL;
	decision.word = read_decision(&found->decision);
	if (!(decision.flags & KMESH_FRONTEND_SCOPED))
		return found;
	key->place = KMESH_FRONTEND_PLACE(client_namespace, port_be);
	scoped = find_entry(key);
	return scoped ? scoped : found;
}

static __noinline struct kmesh_frontend *find_by_cidr(const union kmesh_address *address,
						      __u16 port_be, __u32 client_namespace,
						      union kmesh_decision *decision)
{
	struct kmesh_cidr_key cidr = {.prefix_length = 32 + 128,
				      .client_namespace = client_namespace};
	struct kmesh_frontend_key key = {};
	union kmesh_decision *found;

	cidr.address = *address;
	found = bpf_map_lookup_elem(&cidr_frontends, &cidr);
	if (!found) {
		cidr.client_namespace = 0;
		found = bpf_map_lookup_elem(&cidr_frontends, &cidr);
	}
	if (!found)
		return NULL;
	decision->word = read_decision(found);
	if (!(decision->flags & KMESH_FRONTEND_PORTS))
		return NULL;
	key.address.words[3] = decision->service;
	key.place = KMESH_FRONTEND_PLACE(KMESH_NAMESPACE_SERVICE, port_be);
	return find_entry(&key);
}

/*
 * Finds everything but the common case of a port that is the same for every namespace. `decision`
 * is that of the entry if there is one; otherwise that of a CIDR, or UNKNOWN.
 */
static __noinline struct kmesh_frontend *find_elsewhere(const union kmesh_address *address,
							__u16 port_be, __u32 client_namespace,
							union kmesh_decision *decision)
{
	struct kmesh_frontend_key key = {.address = *address};
	struct kmesh_settings *switches;
	struct kmesh_frontend *found, *added;
	__u32 zero = 0;

	decision->word = UNKNOWN;
	found = find_scoped(&key, port_be, client_namespace);
	if (!found) {
		found = find_scoped(&key, 0, client_namespace);
		/* Ports are written before their address: if the address is new, a port that was
		 * absent a moment ago is present now. */
		order_loads();
		if (found && found->decision.action == KMESH_FRONTEND_REFUSE) {
			added = find_scoped(&key, port_be, client_namespace);
			found = added ? added : found;
		}
	}
	if (!found) {
		switches = bpf_map_lookup_elem(&settings, &zero);
		if (switches && switches->cidr_frontends)
			found = find_by_cidr(address, port_be, client_namespace, decision);
	}
	if (found)
		decision->word = read_decision(&found->decision);
	return found;
}

static __always_inline bool is_incomplete(void)
{
	__u32 zero = 0;
	struct kmesh_settings *switches = bpf_map_lookup_elem(&settings, &zero);

	return !switches || switches->incomplete;
}

/* Keeps the dialled address, bypassing capture. */
static __noinline int go_direct(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
				__u32 reason)
{
	if ((pod->flags & KMESH_POD_CAPTURED) && !pass_capture(ctx))
		reason = KMESH_REASON_TUNNEL_MARK;
	return leave(reason);
}

/* Leaves the connect to the tunnel path. */
static __noinline int go_tunnel(struct bpf_sock_addr *ctx, __u32 reason)
{
	stay_captured(ctx);
	count(reason);
	return reason == KMESH_REASON_TUNNEL_DNS ? LEAVE : TUNNEL;
}

static __always_inline bool is_captured(const struct kmesh_pod *pod)
{
	return (pod->flags & (KMESH_POD_CAPTURED | KMESH_POD_BARE)) == KMESH_POD_CAPTURED;
}

/* After the attempt to hand a connect to the pod's proxy: without capture it
 * must not bypass the mesh. The chosen endpoint is passed along either way. */
static __always_inline int after_handoff(struct bpf_sock_addr *ctx, enum handoff result,
					 const struct tunnelled *connect)
{
	if (result == HANDOFF_DONE)
		return LEAVE;
	if (connect->pick && ctx->sk)
		remember_handoff(ctx, connect, false);
	if (result != HANDOFF_FAILED || is_captured(connect->pod))
		return LEAVE;
	return refuse(ctx, connect->dialled, ctx->user_port, KMESH_REASON_REFUSED_BARE);
}

/* A dialled destination. */
struct dial {
	const union kmesh_address *address;
	const struct kmesh_pod *pod;
	__u64 netns_cookie;
	__u32 draw;
	__u16 port_be;
};

/* Decides a connect for which no endpoint is chosen. */
static __noinline int decide_plainly(struct bpf_sock_addr *ctx, const struct dial *dial,
				     __u16 action, __u32 workload, bool *kept)
{
	switch (action) {
	case KMESH_FRONTEND_WORKLOAD:
		if (is_port_taken(ctx, dial->netns_cookie, dial->address, dial->port_be, false))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_PORT);
		return go_direct(ctx, dial->pod, KMESH_REASON_KERNEL_WORKLOAD);
	case KMESH_FRONTEND_VERDICT:
		if (!may_stay(ctx, dial->pod, workload, dial->port_be))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_VERDICT);
		if (is_unreachable(workload, dial->port_be))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_UNREACHABLE);
		if (is_port_taken(ctx, dial->netns_cookie, dial->address, dial->port_be, false))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_PORT);
		if ((dial->pod->flags & KMESH_POD_CAPTURED) && !pass_capture(ctx))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_MARK);
		if (!remember(ctx, dial->address, dial->port_be, dial->netns_cookie, 0, workload,
			      false))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_FLOW);
		*kept = true;
		return leave(KMESH_REASON_KERNEL_WORKLOAD);
	case KMESH_FRONTEND_REFUSE:
		return refuse(ctx, dial->address, dial->port_be, KMESH_REASON_REFUSED_FRONTEND);
	case KMESH_FRONTEND_OUTSIDE:
		return go_direct(ctx, dial->pod, KMESH_REASON_OUTSIDE_PASSTHROUGH);
	case UNKNOWN:
		return is_incomplete() ? go_tunnel(ctx, KMESH_REASON_TUNNEL_INCOMPLETE)
				       : go_direct(ctx, dial->pod, KMESH_REASON_OUTSIDE_UNKNOWN);
	default:
		return go_tunnel(ctx, KMESH_REASON_TUNNEL_FRONTEND);
	}
}

/* Decides the dialled address by the tables. Sets `chosen` if the peer must be rewritten. */
static __always_inline int decide(struct bpf_sock_addr *ctx, const union kmesh_address *address,
				  __u16 port_be, const struct kmesh_pod *pod, __u64 netns_cookie,
				  struct choice *chosen, bool *kept, __u32 *pick, __u32 draw)
{
	struct dial dial = {address, pod, netns_cookie, draw, port_be};
	bool mapped = is_mapped(address);
	union kmesh_decision decision;
	struct kmesh_endpoint *endpoint;
	struct kmesh_frontend *frontend;
	struct choice choice;
	__u64 range;

	if (is_loopback(address))
		return leave(KMESH_REASON_OUTSIDE_LOOPBACK);

	/* Capture redirects it to the DNS proxy. */
	if (is_captured(pod) && port_be == bpf_htons(PORT_DNS))
		return go_tunnel(ctx, KMESH_REASON_TUNNEL_DNS);

	frontend =
	    find_frontend(address->halves[0], address->halves[1], KMESH_FRONTEND_PLACE(0, port_be));
	if (frontend)
		decision.word = read_decision(&frontend->decision);
	if (!frontend || decision.flags & KMESH_FRONTEND_SCOPED)
		frontend = find_elsewhere(address, port_be, pod->namespace_id, &decision);
	if (!frontend || decision.action != KMESH_FRONTEND_BALANCE)
		return decide_plainly(ctx, &dial, decision.action, frontend ? frontend->target : 0,
				      kept);

	range =
	    mapped ? *(volatile __u64 *)&frontend->range4 : *(volatile __u64 *)&frontend->range6;
	if (!(range >> 32))
		return refuse(ctx, address, port_be, KMESH_REASON_REFUSED_EMPTY);

	endpoint = choose_endpoint(range, dial.draw, mapped);
	if (!endpoint || !endpoint->port_be)
		return go_tunnel(ctx, KMESH_REASON_TUNNEL_SLOT);
	/* Whichever path serves it must not choose again. */
	*pick = endpoint->workload;
	if (endpoint->flags & KMESH_ENDPOINT_TUNNEL)
		return go_tunnel(ctx, KMESH_REASON_TUNNEL_ENDPOINT);

	if (endpoint->flags & KMESH_ENDPOINT_VERDICT) {
		if (is_own(pod, endpoint->workload))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_OWN);
		if (!may_stay(ctx, pod, endpoint->workload, endpoint->port_be))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_VERDICT);
		if (is_unreachable(endpoint->workload, endpoint->port_be))
			return go_tunnel(ctx, KMESH_REASON_TUNNEL_UNREACHABLE);
	}

	choice = read_choice(endpoint, mapped);
	if (is_port_taken(ctx, netns_cookie, &choice.address, choice.port_be, is_captured(pod))) {
		go_tunnel(ctx, KMESH_REASON_TUNNEL_PORT);
		/* The service's own address is free, and capture distinguishes such connections. */
		return is_captured(pod) ? CAPTURE : TUNNEL;
	}
	if ((pod->flags & KMESH_POD_CAPTURED) && !pass_capture(ctx))
		return go_tunnel(ctx, KMESH_REASON_TUNNEL_MARK);
	if (!remember(ctx, address, port_be, netns_cookie, decision.service, endpoint->workload,
		      true))
		return go_tunnel(ctx, KMESH_REASON_TUNNEL_FLOW);
	*chosen = choice;
	/* Counted by sockops when it takes the dial over, because every balanced connection
	 * waits for this path. */
	return LEAVE;
}

/* Returns the pod of the socket; NULL for everything that this program must not touch. */
static __always_inline struct kmesh_pod *gate(struct bpf_sock_addr *ctx, __u64 *netns_cookie)
{
	struct kmesh_pod *pod;

	if (ctx->protocol != IPPROTO_TCP)
		return NULL;
	*netns_cookie = bpf_get_netns_cookie(ctx);
	pod = find_pod(*netns_cookie);
	if (!pod || is_leased())
		return pod;
	stay_captured(ctx);
	return NULL;
}

/* Handles every case. Not inlined, because of the stack and registers that it needs. */
static __noinline int dial4(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
			    __u64 netns_cookie, __u32 draw)
{
	union kmesh_address dialled = {};
	struct choice chosen = {};
	bool kept = false;
	__u32 pick = 0;
	int verdict;

	if (is_proxy(ctx->sk))
		return leave(KMESH_REASON_OUTSIDE_PROXY);

	dialled.words[2] = bpf_htonl(0xffff);
	dialled.words[3] = ctx->user_ip4;
	verdict =
	    decide(ctx, &dialled, ctx->user_port, pod, netns_cookie, &chosen, &kept, &pick, draw);
	if (chosen.port_be) {
		ctx->user_ip4 = chosen.address.words[3];
		ctx->user_port = chosen.port_be;
	} else if (!kept) {
		forget(ctx);
	}
	if (verdict == TUNNEL || verdict == CAPTURE) {
		struct tunnelled tunnelled = {pod, &dialled, netns_cookie, pick};

		return after_handoff(
		    ctx, verdict == CAPTURE ? HANDOFF_FAILED : hand_off4(ctx, &tunnelled),
		    &tunnelled);
	}
	return verdict;
}

/* The common case first: see balance.h. Inlined to avoid a call. */
static __always_inline bool balance4(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
				     __u32 draw)
{
	union kmesh_address dialled = {
	    .halves = {0, (__u64)ctx->user_ip4 << 32 | bpf_htonl(0xffff)}};
	struct kmesh_endpoint *endpoint = balance(ctx, pod, dialled, draw);

	if (!endpoint)
		return false;
	ctx->user_ip4 = ((struct kmesh_choice4 *)endpoint)->address;
	ctx->user_port = endpoint->port_be;
	return true;
}

SEC("cgroup/connect4")
int kmesh_connect4(struct bpf_sock_addr *ctx)
{
	struct kmesh_pod *pod;
	__u64 netns_cookie;
	__u32 draw;

	pod = gate(ctx, &netns_cookie);
	if (!pod)
		return LEAVE;
	draw = draw_for(ctx->sk);
	if (balance4(ctx, pod, draw))
		return LEAVE;
	return dial4(ctx, pod, netns_cookie, draw);
}

static __noinline int dial6(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
			    __u64 netns_cookie, __u32 draw)
{
	union kmesh_address dialled = {};
	struct choice chosen = {};
	bool kept = false;
	__u32 pick = 0;
	int verdict;

	if (is_proxy(ctx->sk))
		return leave(KMESH_REASON_OUTSIDE_PROXY);

	dialled.words[0] = ctx->user_ip6[0];
	dialled.words[1] = ctx->user_ip6[1];
	dialled.words[2] = ctx->user_ip6[2];
	dialled.words[3] = ctx->user_ip6[3];
	verdict =
	    decide(ctx, &dialled, ctx->user_port, pod, netns_cookie, &chosen, &kept, &pick, draw);
	if (chosen.port_be) {
		ctx->user_ip6[0] = chosen.address.words[0];
		ctx->user_ip6[1] = chosen.address.words[1];
		ctx->user_ip6[2] = chosen.address.words[2];
		ctx->user_ip6[3] = chosen.address.words[3];
		ctx->user_port = chosen.port_be;
	} else if (!kept) {
		forget(ctx);
	}
	if (verdict == TUNNEL || verdict == CAPTURE) {
		struct tunnelled tunnelled = {pod, &dialled, netns_cookie, pick};

		return after_handoff(
		    ctx, verdict == CAPTURE ? HANDOFF_FAILED : hand_off6(ctx, &tunnelled),
		    &tunnelled);
	}
	return verdict;
}

static __always_inline bool balance6(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
				     __u32 draw)
{
	union kmesh_address dialled = {
	    .halves = {(__u64)ctx->user_ip6[1] << 32 | ctx->user_ip6[0],
		       (__u64)ctx->user_ip6[3] << 32 | ctx->user_ip6[2]}};
	struct kmesh_endpoint *endpoint = balance(ctx, pod, dialled, draw);
	struct choice chosen;

	if (!endpoint)
		return false;
	chosen = read_choice(endpoint, is_mapped(&dialled));
	ctx->user_ip6[0] = chosen.address.words[0];
	ctx->user_ip6[1] = chosen.address.words[1];
	ctx->user_ip6[2] = chosen.address.words[2];
	ctx->user_ip6[3] = chosen.address.words[3];
	ctx->user_port = chosen.port_be;
	return true;
}

SEC("cgroup/connect6")
int kmesh_connect6(struct bpf_sock_addr *ctx)
{
	struct kmesh_pod *pod;
	__u64 netns_cookie;
	__u32 draw;

	pod = gate(ctx, &netns_cookie);
	if (!pod)
		return LEAVE;
	draw = draw_for(ctx->sk);
	if (balance6(ctx, pod, draw))
		return LEAVE;
	return dial6(ctx, pod, netns_cookie, draw);
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
