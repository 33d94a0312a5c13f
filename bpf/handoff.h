/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hand-off: a connection of the tunnel path goes from connect directly to port 15001 of its own
 * pod, where the pod's proxy finds the dialled destination in `handoffs`. None of its packets is
 * translated or tracked, and the pod needs no capture rules.
 *
 * The destination becomes the pod's own address, not 127.0.0.1: so the source is the pod's, as the
 * application, the access log and the server expect; and it differs from a captured connection,
 * whose addresses and ports could otherwise be equal. A bind to that address proves that
 * it is the pod's: no packet of a handed-over connection leaves the pod.
 *
 * Three steps: the connect hook writes the decision to the socket; sockops, which knows the source
 * port, announces it to the proxy; the proxy removes it when it accepts. No action of a pod
 * creates an entry: a socket that dials 15001 itself removes the entry of an earlier one.
 */
#pragma once

#include "kmesh_maps.h"
#include "address.h"

#include <stdbool.h>

static __always_inline bool is_same(const union kmesh_address *left,
				    const union kmesh_address *right)
{
	return left->halves[0] == right->halves[0] && left->halves[1] == right->halves[1];
}

/* Applies to the current connect only: no other decision has both fields. */
static __always_inline bool is_handed(const struct kmesh_flow *flow)
{
	return flow->rewritten && flow->path == KMESH_PATH_TUNNEL;
}

static __always_inline void read_handoff_key(const struct kmesh_peer_key *socket,
					     __u64 netns_cookie, struct kmesh_handoff_key *key)
{
	key->netns_cookie = netns_cookie;
	key->client = socket->local;
	key->client_port_be = socket->local_port_be;
}

/*
 * Before the SYN: announces a connect that the hook redirected to the proxy. Any other connect
 * to that port removes the entry of an earlier socket with its address and port.
 */
static __always_inline bool announce_handoff(const struct kmesh_peer_key *socket,
					     __u64 netns_cookie, struct kmesh_flow *flow)
{
	bool handed = is_handed(flow);
	struct kmesh_handoff_key key = {};
	struct kmesh_handoff value = {};

	if (socket->remote_port_be != bpf_htons(KMESH_PORT_OUTBOUND) ||
	    !is_same(&socket->local, &socket->remote)) {
		/* From a connect that failed before this point. */
		if (handed)
			flow->rewritten = false;
		return false;
	}
	read_handoff_key(socket, netns_cookie, &key);
	if (!handed) {
		bpf_map_delete_elem(&handoffs, &key);
		return false;
	}
	value.dialled = flow->dialled;
	value.dialled_port_be = flow->dialled_port_be;
	/* Without an entry the proxy sees a dial of its own port, and refuses it. */
	bpf_map_update_elem(&handoffs, &key, &value, BPF_ANY);
	return true;
}

/* Announces the endpoint chosen for a connect of the tunnel path, handed over or captured; before
 * the SYN. */
static __always_inline void announce_pick(const struct kmesh_peer_key *socket, __u64 netns_cookie,
					  const struct kmesh_flow *flow)
{
	struct kmesh_pick pick = {.workload = flow->workload};
	struct kmesh_handoff_key key = {};

	read_handoff_key(socket, netns_cookie, &key);
	bpf_map_update_elem(&picks, &key, &pick, BPF_ANY);
}

/* For a connect that never opened, no proxy will read the entry. One that opened may close before
 * the proxy accepts it, so its entry stays. */
static __always_inline void withdraw_handoff(const struct kmesh_peer_key *socket,
					     const struct kmesh_flow *flow)
{
	struct kmesh_handoff_key key = {};

	read_handoff_key(socket, flow->netns_cookie, &key);
	bpf_map_delete_elem(&handoffs, &key);
}
