/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Lookups in `verdicts`. */
#pragma once

#include "kmesh_maps.h"

#include <stdbool.h>

/* Checked before and after a verdict other than allow: only if false does its absence mean no. */
static __always_inline bool is_changing(__u32 workload)
{
	struct kmesh_verdict_key key = {.workload = workload, .identity = KMESH_IDENTITY_CHANGING};

	return bpf_map_lookup_elem(&verdicts, &key) != NULL;
}

static __always_inline bool is_allowed(__u32 workload, __u32 identity, __u16 port_be)
{
	struct kmesh_verdict_key key = {.workload = workload};
	__u32 *verdict;

	verdict = bpf_map_lookup_elem(&verdicts, &key);
	if (verdict && *verdict == KMESH_VERDICT_ALLOW)
		return true;
	key.identity = identity;
	key.port_be = port_be;
	verdict = bpf_map_lookup_elem(&verdicts, &key);
	if (!verdict) {
		key.port_be = 0;
		verdict = bpf_map_lookup_elem(&verdicts, &key);
	}
	return verdict && *verdict == KMESH_VERDICT_ALLOW;
}
