/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The order of loads and stores, where one side reads what another writes meanwhile. */
#pragma once

#include <linux/types.h>

/* Not 0: this machine may perform loads in another order than the program asks for. */
const volatile __u32 kmesh_weakly_ordered __weak = 0;

/* What is loaded after it must not have been loaded before what precedes it. Where the machine
 * gives no such order an atomic operation that returns a value does; everywhere the compiler
 * needs a barrier. */
static __always_inline void order_loads(void)
{
	__u64 fence = 0;

	if (kmesh_weakly_ordered)
		__sync_fetch_and_add(&fence, 1);
	asm volatile("" ::: "memory");
}

/* What is stored after it must not be seen before what was stored earlier. */
static __always_inline void order_stores(void)
{
	order_loads();
}
