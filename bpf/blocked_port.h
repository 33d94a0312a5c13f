/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Marks a port that the node's network blocks as unreachable, and reports that once per period. */
#pragma once

#include "counters.h"
#include "judge.h"
#include "unreachable.h"

/* `ends` are those of the client. */
static __noinline int report_unreachable(const struct kmesh_peer_key *ends)
{
	struct kmesh_owner *server = find_owner(&ends->remote);
	struct kmesh_event *event;

	if (!server || !note_unreachable(server->workload, ends->remote_port_be))
		return 0;
	count_wire(KMESH_WIRE_UNREACHABLE);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	event->netns_cookie = server->netns_cookie;
	event->local = ends->local;
	event->remote = event->dialled = ends->remote;
	event->local_port_be = ends->local_port_be;
	event->remote_port_be = event->dialled_port_be = ends->remote_port_be;
	event->workload = server->workload;
	event->kind = KMESH_EVENT_UNREACHABLE;
	event->path = KMESH_PATH_KERNEL;
	bpf_ringbuf_submit(event, 0);
	return 0;
}
