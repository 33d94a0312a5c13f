// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The smallest possible hook: shows the kernel's cost of measuring and calling a program, and
 * represents programs of other software.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup/connect4")
int empty_connect4(struct bpf_sock_addr *ctx)
{
	return 1;
}

SEC("tc")
int empty_tc(struct __sk_buff *skb)
{
	return -1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
