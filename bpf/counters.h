/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counters per CPU: decisions by enum kmesh_reason, and events of the wire. */
#pragma once

#include "kmesh_maps.h"

static __always_inline void count(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &reason);

	if (counter)
		*counter += 1;
}

static __always_inline void count_wire(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&wire_counts, &what);

	if (counter)
		*counter += 1;
}
