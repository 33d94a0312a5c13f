/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Ports to which a NetworkPolicy of the CNI drops packets: it may admit only the
 * mesh's port. The only sign is a retransmitted SYN. Then connects to that
 * port take the tunnel path for a while, longer each time.
 *
 * Two ports may share a place; the other one then takes the tunnel path, too.
 */
#pragma once

#include "kmesh_maps.h"

#include <stdbool.h>

/* 2^30 ns, about a second. */
#define SECOND_BITS 30
#define UNREACHABLE_SECONDS 60
#define UNREACHABLE_DOUBLINGS 4

static __always_inline struct kmesh_unreachable *find_unreachable(__u32 workload, __u16 port_be)
{
	__u32 index = ((workload * 0x9e3779b1u) ^ (port_be * 0x85ebca6bu)) >> 20;

	return bpf_map_lookup_elem(&unreachable, &index);
}

static __always_inline __u32 current_second(void)
{
	return bpf_ktime_get_coarse_ns() >> SECOND_BITS;
}

static __always_inline bool is_unreachable(__u32 workload, __u16 port_be)
{
	struct kmesh_unreachable *place = find_unreachable(workload, port_be);
	__u32 until = place ? *(volatile __u32 *)&place->until : 0;

	return until && current_second() < until;
}

/* Returns the seconds for which the port is now marked as unreachable; 0 if it already
 * was. */
static __always_inline __u32 note_unreachable(__u32 workload, __u16 port_be)
{
	struct kmesh_unreachable *place = find_unreachable(workload, port_be);
	__u32 now = current_second(), seconds;

	if (!place || now < place->until)
		return 0;
	/* Reachable for as long as it had been unreachable: restart the back-off. */
	if (now - place->until > UNREACHABLE_SECONDS << UNREACHABLE_DOUBLINGS)
		place->times = 0;
	seconds = UNREACHABLE_SECONDS << place->times;
	if (place->times < UNREACHABLE_DOUBLINGS)
		place->times += 1;
	place->until = now + seconds;
	return seconds;
}
