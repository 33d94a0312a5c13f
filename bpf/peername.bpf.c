// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup/getpeername4 and 6: the application sees the address that it dialled, not the endpoint
 * that was chosen for it. Sockets without a rewritten flow keep the kernel's answer.
 */
#include "kmesh_maps.h"

SEC("cgroup/getpeername4")
int kmesh_peer4(struct bpf_sock_addr *ctx)
{
	struct kmesh_flow *flow;

	if (!ctx->sk)
		return 1;
	flow = bpf_sk_storage_get(&flows, ctx->sk, 0, 0);
	if (flow && flow->rewritten) {
		ctx->user_ip4 = flow->dialled.words[3];
		ctx->user_port = flow->dialled_port_be;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int kmesh_peer6(struct bpf_sock_addr *ctx)
{
	struct kmesh_flow *flow;

	if (!ctx->sk)
		return 1;
	flow = bpf_sk_storage_get(&flows, ctx->sk, 0, 0);
	if (flow && flow->rewritten) {
		ctx->user_ip6[0] = flow->dialled.words[0];
		ctx->user_ip6[1] = flow->dialled.words[1];
		ctx->user_ip6[2] = flow->dialled.words[2];
		ctx->user_ip6[3] = flow->dialled.words[3];
		ctx->user_port = flow->dialled_port_be;
	}
	return 1;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
