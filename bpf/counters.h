/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counts decisions by enum kmesh_reason, per CPU. */
#pragma once

#include "kmesh_maps.h"

static __always_inline void count(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &reason);

	if (counter)
		*counter += 1;
}
