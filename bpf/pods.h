/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The gate of every hook: which pod a network namespace is. */
#pragma once

#include "kmesh_maps.h"

/* The pod with this namespace cookie, or NULL when none is enrolled. One array access. */
static __always_inline struct kmesh_pod *find_pod(__u64 netns_cookie)
{
	__u32 index = netns_cookie & (KMESH_POD_BUCKETS - 1);
	struct kmesh_pod_bucket *bucket = bpf_map_lookup_elem(&pods, &index);

	if (!bucket)
		return NULL;
	if (bucket->cookies[0] == netns_cookie)
		return &bucket->pods[0];
	if (bucket->cookies[1] == netns_cookie)
		return &bucket->pods[1];
	if (bucket->cookies[2] == netns_cookie)
		return &bucket->pods[2];
	if (bucket->cookies[3] == netns_cookie)
		return &bucket->pods[3];
	return NULL;
}
