/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The gate of every hook: maps network namespaces to pods. */
#pragma once

#include "kmesh_maps.h"

/* Returns the pod with this namespace cookie, or NULL if none is enrolled. One array access. */
static __always_inline struct kmesh_pod *find_pod(__u64 netns_cookie)
{
	__u32 index = netns_cookie & (KMESH_POD_BUCKETS - 1);
	struct kmesh_pod_bucket *bucket = bpf_map_lookup_elem(&pods, &index);
	__u64 place, same = netns_cookie;

	if (!bucket)
		return NULL;
	if (bucket->cookies[0] == netns_cookie)
		place = 0;
	else if (bucket->cookies[1] == netns_cookie)
		place = 1;
	else if (bucket->cookies[2] == netns_cookie)
		place = 2;
	else if (bucket->cookies[3] == netns_cookie)
		place = 3;
	else
		return NULL;
	/* Has no effect, but the verifier then sees one place instead of four, for
	 * each of which it would walk all that follows. */
	asm volatile("" : "+r"(same));
	place += same - netns_cookie;
	if (place >= KMESH_POD_WAYS)
		return NULL;
	return &bucket->pods[place];
}
