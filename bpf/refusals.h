/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reports a connect that the hook refuses: no handshake follows, so sockops never sees it. The
 * refusal does not depend on the report. The reports per pod are limited, so that they
 * never take the room of connections; `counters` includes every refusal.
 */
#pragma once

#include "kmesh_maps.h"

static __always_inline void lose_refusal(void)
{
	__u32 zero = 0;
	__u64 *lost = bpf_map_lookup_elem(&refusals_lost, &zero);

	if (lost)
		*lost += 1;
}

/* Whether this pod may cause one more report. */
static __always_inline bool take_budget(__u64 netns_cookie, __u64 now)
{
	__u32 index = netns_cookie % KMESH_REFUSAL_BUDGETS;
	struct kmesh_refusal_budget *budget = bpf_map_lookup_elem(&refusal_budgets, &index);
	__u64 span = now >> KMESH_REFUSAL_SPAN_BITS;

	if (!budget)
		return false;
	if (budget->span != span) {
		budget->span = span;
		budget->reported = 0;
	}
	if (budget->reported >= KMESH_REFUSALS_REPORTED)
		return false;
	budget->reported += 1;
	return true;
}

static __noinline void report_refusal(struct bpf_sock_addr *ctx, const union kmesh_address *dialled,
				      __u16 port_be, __u32 reason)
{
	__u64 netns_cookie = bpf_get_netns_cookie(ctx), now = bpf_ktime_get_ns();
	struct kmesh_settings *switches;
	struct kmesh_event *event;
	__u32 zero = 0;

	switches = bpf_map_lookup_elem(&settings, &zero);
	if (!switches || switches->events == KMESH_EVENTS_NONE)
		return;
	if (!take_budget(netns_cookie, now) ||
	    bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > KMESH_REFUSAL_RING_BYTES) {
		lose_refusal();
		return;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		lose_refusal();
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = now;
	event->netns_cookie = netns_cookie;
	event->socket_cookie = bpf_get_socket_cookie(ctx);
	event->dialled = *dialled;
	event->dialled_port_be = port_be;
	event->kind = KMESH_EVENT_REFUSED;
	event->direction = KMESH_DIRECTION_OUTBOUND;
	event->path = KMESH_PATH_REFUSED;
	event->close_reason = reason;
	bpf_ringbuf_submit(event, 0);
}
