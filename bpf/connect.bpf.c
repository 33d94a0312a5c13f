// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup/connect4 and connect6: find what the dialled address means, choose an endpoint, choose the
 * path.
 *
 * Only TCP sockets of enrolled pods are touched. Whatever the tables do not say for certain is left
 * to the tunnel path, with the dialled address unchanged (design §1).
 */
#include "kmesh_maps.h"
#include "address.h"
#include "dials.h"
#include "pods.h"
#include "verdict.h"

#include <bpf/bpf_endian.h>

#define ECONNREFUSED 111
#define SOL_SOCKET 1
#define SO_MARK 36
#define PORT_DNS 53

/* bpf_set_retval is known to cgroup/connect since Linux 6.1; without it a refusal shows as EPERM.
 */
const volatile __u32 kmesh_has_set_retval = 1;

enum { LEAVE = 1, REFUSE = 0 };

static __always_inline void count(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &reason);

	if (counter)
		*counter += 1;
}

static __always_inline int leave(__u32 reason)
{
	count(reason);
	return LEAVE;
}

static __always_inline int refuse(__u32 reason)
{
	count(reason);
	if (kmesh_has_set_retval)
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

static __always_inline struct kmesh_frontend *find_scoped(struct kmesh_frontend_key *key,
							  __u32 client_namespace)
{
	struct kmesh_frontend *found, *scoped;

	found = bpf_map_lookup_elem(&frontends, key);
	if (!found || !(found->flags & KMESH_FRONTEND_SCOPED))
		return found;
	key->client_namespace = client_namespace;
	scoped = bpf_map_lookup_elem(&frontends, key);
	key->client_namespace = 0;
	return scoped ? scoped : found;
}

static __noinline struct kmesh_frontend *find_by_cidr(const union kmesh_address *address,
						      __u16 port_be, __u32 client_namespace)
{
	struct kmesh_cidr_key cidr = {.prefix_length = 32 + 128,
				      .client_namespace = client_namespace};
	struct kmesh_frontend_key key = {.client_namespace = KMESH_NAMESPACE_SERVICE};
	struct kmesh_frontend *found, *port;

	cidr.address = *address;
	found = bpf_map_lookup_elem(&cidr_frontends, &cidr);
	if (!found) {
		cidr.client_namespace = 0;
		found = bpf_map_lookup_elem(&cidr_frontends, &cidr);
	}
	if (!found || !(found->flags & KMESH_FRONTEND_PORTS))
		return found;
	key.address.words[3] = found->service;
	key.port_be = port_be;
	port = bpf_map_lookup_elem(&frontends, &key);
	return port ? port : found;
}

static __always_inline struct kmesh_frontend *find_frontend(struct kmesh_frontend_key *key,
							    __u32 client_namespace)
{
	struct kmesh_settings *switches;
	struct kmesh_frontend *found;
	__u16 port_be = key->port_be;
	__u32 zero = 0;

	found = find_scoped(key, client_namespace);
	if (found)
		return found;
	key->port_be = 0;
	found = find_scoped(key, client_namespace);
	if (found)
		return found;
	switches = bpf_map_lookup_elem(&settings, &zero);
	if (!switches || !switches->cidr_frontends)
		return NULL;
	return find_by_cidr(&key->address, port_be, client_namespace);
}

static __always_inline bool is_incomplete(void)
{
	__u32 zero = 0;
	struct kmesh_settings *switches = bpf_map_lookup_elem(&settings, &zero);

	return !switches || switches->incomplete;
}

/* One draw serves both the slot and the comparison: the upper half of draw x count is the slot, the
 * lower half is what is left of the draw, uniform enough for 2^32 over the endpoints of one
 * service. */
static __always_inline struct kmesh_endpoint *choose_endpoint(__u64 range)
{
	__u32 base = range, count = range >> 32, slot;
	struct kmesh_endpoint *endpoint;
	__u64 product;

	product = (__u64)bpf_get_prandom_u32() * count;
	slot = base + (__u32)(product >> 32);
	endpoint = bpf_map_lookup_elem(&endpoints, &slot);
	if (!endpoint || (__u32)product < endpoint->threshold ||
	    endpoint->threshold == KMESH_THRESHOLD_ALWAYS)
		return endpoint;
	slot = base + endpoint->alias;
	return bpf_map_lookup_elem(&endpoints, &slot);
}

static __always_inline bool remember_on_socket(struct bpf_sock_addr *ctx,
					       const struct kmesh_frontend_key *key, __u16 port_be,
					       __u64 netns_cookie, __u32 service, __u32 workload,
					       bool rewritten)
{
	struct kmesh_flow *flow =
	    bpf_sk_storage_get(&flows, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!flow)
		return false;
	flow->dialled = key->address;
	flow->dialled_port_be = port_be;
	flow->netns_cookie = netns_cookie;
	flow->service = service;
	flow->workload = workload;
	flow->path = KMESH_PATH_KERNEL;
	flow->rewritten = rewritten;
	flow->handshake = 0;
	return true;
}

/*
 * Remembers what was dialled until sockops sees the handshake begin, a few microseconds later in
 * the same system call, and makes it a flow. Writing a line of a small table costs far less than
 * creating socket storage here, and a connect that fails before its SYN leaves nothing on the
 * socket. A slot that another connect of this instant holds is not taken over: that socket gets its
 * storage at once.
 */
static __always_inline bool remember(struct bpf_sock_addr *ctx,
				     const struct kmesh_frontend_key *key, __u16 port_be,
				     __u64 netns_cookie, __u32 service, __u32 workload,
				     bool rewritten, bool handshake)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 index = dial_index(sk);
	__u64 now = bpf_jiffies64(), seen;
	struct kmesh_dial *dial;

	dial = bpf_map_lookup_elem(&dials, &index);
	if (!dial)
		return false;
	seen = *(volatile __u64 *)&dial->socket;
	if (seen && seen != (__u64)sk && now - dial->written_jiffies < KMESH_DIAL_STALE_JIFFIES)
		return !handshake && remember_on_socket(ctx, key, port_be, netns_cookie, service,
							workload, rewritten);
	/* Fresh before it is claimed, so that nobody takes the claim for a stale one; claimed in
	 * one step, for another CPU may have seen the slot free in the same instant. */
	dial->written_jiffies = now;
	if (seen != (__u64)sk &&
	    __sync_val_compare_and_swap(&dial->socket, seen, (__u64)sk) != seen)
		return !handshake && remember_on_socket(ctx, key, port_be, netns_cookie, service,
							workload, rewritten);
	dial->dialled = key->address;
	dial->service = service;
	dial->workload = workload;
	dial->dialled_port_be = port_be;
	dial->path = KMESH_PATH_KERNEL;
	dial->rewritten = rewritten;
	dial->handshake = handshake;
	return true;
}

/* This connect is not rewritten: what an earlier connect of a socket at this place left behind is
 * not its own. */
static __noinline void forget(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 index = dial_index(sk);
	struct kmesh_dial *dial = bpf_map_lookup_elem(&dials, &index);

	if (dial && dial->socket == (__u64)sk)
		dial->socket = 0;
}

/* Lets the connection past capture in its own pod. A mark that the application set stays. */
static __noinline bool pass_capture(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod)
{
	__u32 mark = KMESH_MARK;

	if (!(pod->flags & KMESH_POD_CAPTURED))
		return true;
	if (!ctx->sk)
		return false;
	if (ctx->sk->mark)
		return (ctx->sk->mark & KMESH_MARK_MASK) == KMESH_MARK;
	return bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0;
}

/* The dialled address is kept, past capture. */
static __noinline int go_direct(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
				     __u32 reason)
{
	return leave(pass_capture(ctx, pod) ? reason : KMESH_REASON_TUNNEL_MARK);
}

/* The tunnel path takes it: a mark of an earlier connect of this socket must not let it pass. */
static __noinline int go_tunnel(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
				     __u32 reason)
{
	__u32 none = 0;

	if ((pod->flags & KMESH_POD_CAPTURED) && ctx->sk && ctx->sk->mark == KMESH_MARK)
		bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &none, sizeof(none));
	return leave(reason);
}

/* What the tables say of the dialled address in `key`. `chosen` is set when the peer has to be
 * rewritten. */
static __always_inline int decide(struct bpf_sock_addr *ctx, struct kmesh_frontend_key *key,
				  const struct kmesh_pod *pod, __u64 netns_cookie,
				  struct kmesh_endpoint **chosen, bool *kept)
{
	__u16 port_be = key->port_be;
	struct kmesh_service_port *service_port;
	struct kmesh_endpoint *endpoint;
	struct kmesh_frontend *frontend;
	__u32 target, service;
	__u64 range;
	bool mapped;

	if (is_loopback(&key->address))
		return leave(KMESH_REASON_OUTSIDE_LOOPBACK);

	/* Capture hands it to the DNS proxy. */
	if ((pod->flags & KMESH_POD_CAPTURED) && port_be == bpf_htons(PORT_DNS))
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_DNS);

	frontend = find_frontend(key, pod->namespace_id);
	if (!frontend)
		return is_incomplete() ? go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_INCOMPLETE)
				       : go_direct(ctx, pod, KMESH_REASON_OUTSIDE_UNKNOWN);

	switch (frontend->action) {
	case KMESH_FRONTEND_BALANCE:
		break;
	case KMESH_FRONTEND_WORKLOAD:
		return go_direct(ctx, pod, KMESH_REASON_KERNEL_WORKLOAD);
	case KMESH_FRONTEND_VERDICT:
		target = frontend->target;
		if (!is_allowed(target, pod->identity, port_be))
			return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_VERDICT);
		if (!remember(ctx, key, port_be, netns_cookie, 0, target, false, true))
			return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_FLOW);
		*kept = true;
		return go_direct(ctx, pod, KMESH_REASON_KERNEL_WORKLOAD);
	case KMESH_FRONTEND_REFUSE:
		return refuse(KMESH_REASON_REFUSED_FRONTEND);
	case KMESH_FRONTEND_OUTSIDE:
		return go_direct(ctx, pod, KMESH_REASON_OUTSIDE_PASSTHROUGH);
	default:
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_FRONTEND);
	}

	target = frontend->target;
	service = frontend->service;
	service_port = bpf_map_lookup_elem(&service_ports, &target);
	if (!service_port)
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_SLOT);
	mapped = is_mapped(&key->address);
	range = mapped ? *(volatile __u64 *)&service_port->range4
		       : *(volatile __u64 *)&service_port->range6;
	if (!(range >> 32))
		return refuse(KMESH_REASON_REFUSED_EMPTY);

	endpoint = choose_endpoint(range);
	if (!endpoint || !endpoint->port_be)
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_SLOT);
	if (endpoint->flags & KMESH_ENDPOINT_TUNNEL)
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_ENDPOINT);
	if (is_mapped(&endpoint->address) != mapped)
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_FAMILY);

	if (endpoint->flags & KMESH_ENDPOINT_VERDICT &&
	    !is_allowed(endpoint->workload, pod->identity, endpoint->port_be))
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_VERDICT);

	if (!pass_capture(ctx, pod))
		return leave(KMESH_REASON_TUNNEL_MARK);
	if (!remember(ctx, key, port_be, netns_cookie, service, endpoint->workload, true,
		      endpoint->flags & KMESH_ENDPOINT_VERDICT))
		return go_tunnel(ctx, pod, KMESH_REASON_TUNNEL_FLOW);
	*chosen = endpoint;
	return leave(KMESH_REASON_KERNEL_BALANCED);
}

/* The pod that the socket belongs to; NULL for everything that this program must not touch. */
static __always_inline struct kmesh_pod *gate(struct bpf_sock_addr *ctx, __u64 *netns_cookie)
{
	if (ctx->protocol != IPPROTO_TCP)
		return NULL;
	*netns_cookie = bpf_get_netns_cookie(ctx);
	return find_pod(*netns_cookie);
}

static __always_inline bool is_proxy(struct bpf_sock_addr *ctx)
{
	return ctx->sk && (ctx->sk->mark & KMESH_PROXY_MARK_MASK) == KMESH_PROXY_MARK;
}

/* Not inlined: the stack and registers that a dial needs are then not prepared for sockets that are
 * let go at the gate. */
static __noinline int dial4(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
			    __u64 netns_cookie)
{
	struct kmesh_frontend_key key = {};
	struct kmesh_endpoint *chosen = NULL;
	bool kept = false;
	int verdict;

	if (is_proxy(ctx))
		return leave(KMESH_REASON_OUTSIDE_PROXY);

	key.address.words[2] = bpf_htonl(0xffff);
	key.address.words[3] = ctx->user_ip4;
	key.port_be = ctx->user_port;
	verdict = decide(ctx, &key, pod, netns_cookie, &chosen, &kept);
	if (chosen) {
		ctx->user_ip4 = chosen->address.words[3];
		ctx->user_port = chosen->port_be;
	} else if (!kept) {
		forget(ctx);
	}
	return verdict;
}

SEC("cgroup/connect4")
int kmesh_connect4(struct bpf_sock_addr *ctx)
{
	struct kmesh_pod *pod;
	__u64 netns_cookie;

	pod = gate(ctx, &netns_cookie);
	return pod ? dial4(ctx, pod, netns_cookie) : LEAVE;
}

static __noinline int dial6(struct bpf_sock_addr *ctx, const struct kmesh_pod *pod,
			    __u64 netns_cookie)
{
	struct kmesh_frontend_key key = {};
	struct kmesh_endpoint *chosen = NULL;
	bool kept = false;
	int verdict;

	if (is_proxy(ctx))
		return leave(KMESH_REASON_OUTSIDE_PROXY);

	key.address.words[0] = ctx->user_ip6[0];
	key.address.words[1] = ctx->user_ip6[1];
	key.address.words[2] = ctx->user_ip6[2];
	key.address.words[3] = ctx->user_ip6[3];
	key.port_be = ctx->user_port;
	verdict = decide(ctx, &key, pod, netns_cookie, &chosen, &kept);
	if (chosen) {
		ctx->user_ip6[0] = chosen->address.words[0];
		ctx->user_ip6[1] = chosen->address.words[1];
		ctx->user_ip6[2] = chosen->address.words[2];
		ctx->user_ip6[3] = chosen->address.words[3];
		ctx->user_port = chosen->port_be;
	} else if (!kept) {
		forget(ctx);
	}
	return verdict;
}

SEC("cgroup/connect6")
int kmesh_connect6(struct bpf_sock_addr *ctx)
{
	struct kmesh_pod *pod;
	__u64 netns_cookie;

	pod = gate(ctx, &netns_cookie);
	return pod ? dial6(ctx, pod, netns_cookie) : LEAVE;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
