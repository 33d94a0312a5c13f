/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The few kernel fields that no BPF context offers. Offsets are relocated against the running
 * kernel's BTF. */
#pragma once

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	int sk_rcvlowat;
};

struct tcp_sock {
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 write_seq;
	__u32 copied_seq;
	__u64 bytes_acked;
	__u64 bytes_received;
};

#pragma clang attribute pop
