/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Kernel fields that no BPF context offers. Offsets are relocated against the running
 * kernel's BTF. */
#pragma once

#include "kmesh_types.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	union kmesh_address skc_v6_daddr;
	union kmesh_address skc_v6_rcv_saddr;
	unsigned long skc_flags;
	struct {
		__s64 counter;
	} skc_cookie;
};

/* Named as in the kernel; the contents of a lock depend on the architecture. */
struct raw_spinlock {
	struct kmesh_arch_lock {
		__u32 word;
	} raw_lock;
};

struct spinlock {
	struct raw_spinlock rlock;
};

struct sock {
	struct sock_common __sk_common;
	struct {
		struct spinlock slock;
		int owned;
	} sk_lock;
	int sk_err;
	int sk_rx_dst_ifindex; /* since Linux 5.16; in struct inet_sock before */
};

struct inet_sock {
	void *inet_opt;
	int rx_dst_ifindex;
};

struct tcp_congestion_ops {
	char name[16];
};

struct inet_connection_sock {
	const struct tcp_congestion_ops *icsk_ca_ops;
	__u8 icsk_ca_setsockopt : 1;
	__u8 icsk_ca_dst_locked : 1;
};

struct minmax_sample {
	__u32 v;
};

struct minmax {
	struct minmax_sample s[3];
};

/* The application's socket of an MPTCP connection. */
struct mptcp_sock {
	struct inet_connection_sock sk;
};

struct tcp_sock {
	__u32 snd_nxt;
	__u32 snd_una;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u32 srtt_us;
	__u32 total_retrans;
	struct minmax rtt_min;
	void *fastopen_req;
};

#pragma clang attribute pop
