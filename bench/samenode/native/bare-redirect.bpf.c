// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The least that moves bytes from socket to socket: every connection of the cgroup is put into a
 * map when it is established, and what it sends goes to its peer. No check, no count, no order
 * between redirected bytes and others: for nothing but to see what the kernel can do.
 */
#include <linux/bpf.h>
#include <bpf_helpers.h>

struct ends {
	__u32 near_ip, far_ip;
	__u32 near_port, far_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__type(key, struct ends);
	__type(value, __u64);
	__uint(max_entries, 65536);
} sockets SEC(".maps");

SEC("sockops")
int join(struct bpf_sock_ops *ops)
{
	/* A server's IPv6 socket has the IPv4 addresses too. */
	if (ops->remote_ip4 == 0 || (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
				     ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB))
		return 1;
	struct ends key = {
	    .near_ip = ops->local_ip4,
	    .far_ip = ops->remote_ip4,
	    .near_port = ops->local_port,
	    .far_port = __builtin_bswap32(ops->remote_port),
	};
	bpf_sock_hash_update(ops, &sockets, &key, BPF_ANY);
	return 1;
}

SEC("sk_msg")
int redirect(struct sk_msg_md *message)
{
	struct ends peer = {
	    .near_ip = message->remote_ip4,
	    .far_ip = message->local_ip4,
	    .near_port = __builtin_bswap32(message->remote_port),
	    .far_port = message->local_port,
	};
	bpf_msg_redirect_hash(message, &sockets, &peer, BPF_F_INGRESS);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
