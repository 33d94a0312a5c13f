/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One record of a connection for the ring. A record that does not fit is counted, and the
 * connection continues. */
#pragma once

#include "kmesh_maps.h"
#include "dials.h"
#include "kernel_types.h"
#include "measure.h"
#include "sockops_context.h"

#include <bpf/bpf_endian.h>

#define EPIPE 32
#define ENETUNREACH 101
#define ECONNABORTED 103
#define ECONNRESET 104
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTUNREACH 113

static __always_inline __u8 close_reason(struct tcp_sock *tcp, bool established)
{
	struct sock *sk = (struct sock *)tcp;

	switch (sk->sk_err) {
	case 0:
		return established ? KMESH_CLOSE_NORMAL : KMESH_CLOSE_ABORTED;
	case ECONNREFUSED:
		return KMESH_CLOSE_REFUSED;
	case ETIMEDOUT:
		return KMESH_CLOSE_TIMEOUT;
	case ECONNRESET:
	case EPIPE:
		return KMESH_CLOSE_RESET;
	case ENETUNREACH:
	case EHOSTUNREACH:
		return KMESH_CLOSE_UNREACHABLE;
	default:
		return KMESH_CLOSE_OTHER;
	}
}

static __always_inline bool is_wanted(__u8 kind)
{
	struct kmesh_settings *switches;
	__u32 zero = 0;

	switches = bpf_map_lookup_elem(&settings, &zero);
	return switches && (kind == KMESH_EVENT_OPENED ? switches->events == KMESH_EVENTS_ALL
						       : switches->events != KMESH_EVENTS_NONE);
}

static __always_inline void report(struct bpf_sock_ops *ctx, const struct kmesh_flow *flow,
				   struct tcp_sock *tcp, __u8 kind, __u32 old_state, bool denied)
{
	struct kmesh_event *event;
	__u64 *lost;
	__u32 zero = 0;

	if (!tcp || !is_reported(flow) || !is_wanted(kind))
		return;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		lost = bpf_map_lookup_elem(&events_lost, &zero);
		if (lost)
			*lost += 1;
		return;
	}
	event->time_ns = bpf_ktime_get_ns();
	event->netns_cookie = flow->netns_cookie;
	/* Cookies are allocated on first use, which has a cost: read without allocation unless this
	 * is the record of an opening. */
	event->socket_cookie = kind == KMESH_EVENT_OPENED
				   ? bpf_get_socket_cookie(ctx)
				   : ((struct sock *)tcp)->__sk_common.skc_cookie.counter;
	event->duration_ns = event->time_ns - flow->started_ns;
	if (kind == KMESH_EVENT_CLOSED) {
		measure_bytes(tcp, flow, old_state, event);
	} else {
		event->bytes_sent = 0;
		event->bytes_received = 0;
	}
	read_local(ctx, &event->local);
	read_remote(ctx, &event->remote);
	event->dialled = flow->dialled;
	event->service = flow->service;
	event->workload = flow->workload;
	event->srtt_us = ctx->srtt_us >> 3;
	event->min_rtt_us = ctx->rtt_min;
	event->retransmissions = ctx->total_retrans;
	event->local_port_be = bpf_htons(ctx->local_port);
	event->remote_port_be = read_remote_port(ctx);
	event->dialled_port_be = flow->dialled_port_be;
	event->kind = kind;
	event->direction = flow->direction;
	event->path = flow->path;
	event->close_reason = kind == KMESH_EVENT_OPENED ? KMESH_CLOSE_NORMAL
			      : denied			 ? KMESH_CLOSE_DENIED
				       : close_reason(tcp, kind == KMESH_EVENT_CLOSED);
	event->reserved = 0;
	event->peer_identity = flow->peer_identity;
	event->attested = flow->attested;
	/* Wakes the reader only if it had caught up: it lets records accumulate before it takes
	 * them, so under load that is once per batch. */
	bpf_ringbuf_submit(event, 0);
}
