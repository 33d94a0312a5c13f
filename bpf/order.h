/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Ordering of loads and stores for data that another side accesses concurrently. */
#pragma once

#include <linux/types.h>

/* Not 0: this machine may reorder loads. */
const volatile __u32 kmesh_weakly_ordered __weak = 0;

/* Prevents later loads from being performed before earlier ones. If the machine
 * does not order loads, an atomic operation that returns a value does; the compiler
 * always needs a barrier. */
static __always_inline void order_loads(void)
{
	__u64 fence = 0;

	if (kmesh_weakly_ordered)
		__sync_fetch_and_add(&fence, 1);
	asm volatile("" ::: "memory");
}

/* Prevents later stores from becoming visible before earlier ones. */
static __always_inline void order_stores(void)
{
	order_loads();
}
