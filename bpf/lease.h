/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs outlive the daemon, but not forever: they decide only while the lease that it
 * renews is valid. Afterwards they change nothing.
 */
#pragma once

#include "kmesh_maps.h"

#include <stdbool.h>

static __always_inline struct kmesh_lease *find_lease(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lease, &zero);
}

/* The clock is read once per jiffy, its resolution; jiffies are read without a
 * call. */
static __always_inline bool has_expired(struct kmesh_lease *lease)
{
	__u64 until = *(const volatile __u64 *)&lease->until_ns;
	__u64 checked = until ^ bpf_jiffies64();

	if (!until)
		return true;
	if (*(volatile __u64 *)&lease->checked == checked)
		return false;
	if (bpf_ktime_get_coarse_ns() >= until)
		return true;
	*(volatile __u64 *)&lease->checked = checked;
	return false;
}

static __always_inline bool is_leased(void)
{
	struct kmesh_lease *lease = find_lease();

	return lease && !has_expired(lease);
}
