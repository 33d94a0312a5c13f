// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sk_msg on the sockets of `peers`: moves a message straight into the queue of the peer's socket.
 *
 * A socket reads redirected bytes before those that came by TCP, and only by recvmsg. So a
 * direction begins to redirect only when its reader has returned from recvmsg every byte that was
 * ever sent to it: then nothing is under way by TCP that a redirected byte could overtake, and the
 * reader has shown how it reads (bytes that it took by splice or MSG_PEEK never make the sums
 * equal). Leaving for TCP keeps the order at any time, so a direction may go back and forth. The
 * same sums tell how much lies unread, which bounds the queue.
 */
#include "exchange.h"
#include "kernel_types.h"

#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define MSG_CMSG_CLOEXEC 0x40000000

enum { PASS = SK_PASS };

static __always_inline __u32 reads_wanted(void)
{
	__u32 zero = 0;
	struct kmesh_settings *switches = bpf_map_lookup_elem(&settings, &zero);

	return switches ? switches->redirect : 0;
}

static __always_inline int send_plain(struct kmesh_exchange *exchange,
				      struct kmesh_exchange_side *mine, __u32 size)
{
	__u32 run =
	    mine->plain_run + (size >= KMESH_REDIRECT_MESSAGE_BYTES ? KMESH_REDIRECT_LARGE_RUN : 1);

	if (run < KMESH_REDIRECT_PLAIN_RUN)
		mine->plain_run = run;
	else if (!exchange->given_up_ns)
		exchange->given_up_ns = bpf_ktime_get_ns();
	if (mine->redirecting) {
		mine->redirecting = 0;
		count_redirect(KMESH_REDIRECT_LEFT, 1);
	}
	count_redirect(KMESH_REDIRECT_PLAIN_BYTES, size);
	return PASS;
}

static __always_inline void read_peer_key(struct sk_msg_md *message, struct kmesh_peer_key *key)
{
	key->local_port_be = bpf_htons(bpf_ntohl(message->remote_port));
	key->remote_port_be = bpf_htons(message->local_port);
	if (message->family == 2) {
		key->local.words[2] = bpf_htonl(0xffff);
		key->local.words[3] = message->remote_ip4;
		key->remote.words[2] = bpf_htonl(0xffff);
		key->remote.words[3] = message->local_ip4;
		asm volatile("" ::: "memory");
		return;
	}
	key->local.words[0] = message->remote_ip6[0];
	key->local.words[1] = message->remote_ip6[1];
	key->local.words[2] = message->remote_ip6[2];
	key->local.words[3] = message->remote_ip6[3];
	key->remote.words[0] = message->local_ip6[0];
	key->remote.words[1] = message->local_ip6[1];
	key->remote.words[2] = message->local_ip6[2];
	key->remote.words[3] = message->local_ip6[3];
}

SEC("sk_msg")
int kmesh_redirect(struct sk_msg_md *message)
{
	struct kmesh_exchange_side *mine, *theirs;
	struct kmesh_peer_key key = {};
	struct kmesh_exchange *exchange;
	__u32 size = message->size, wanted, unread;
	struct tcp_sock *tcp;
	struct kmesh_flow *flow;

	if (!message->sk)
		return PASS;
	flow = bpf_sk_storage_get(&flows, message->sk, 0, 0);
	exchange = flow ? find_exchange(flow) : NULL;
	if (!exchange)
		return PASS;
	mine = &exchange->sides[flow->exchange_side & 1];
	theirs = &exchange->sides[!(flow->exchange_side & 1)];
	wanted = reads_wanted();
	if (!wanted || exchange->given_up_ns || size >= KMESH_REDIRECT_MESSAGE_BYTES ||
	    theirs->flags != KMESH_EXCHANGE_JOINED || theirs->reads < wanted)
		return send_plain(exchange, mine, size);
	tcp = bpf_skc_to_tcp_sock(message->sk);
	if (!tcp)
		return send_plain(exchange, mine, size);
	unread = (__u32)mine->redirected + (tcp->write_seq - theirs->first_read) -
		 (__u32) * (volatile __u64 *)&theirs->received;
	if (mine->redirecting ? unread + size > KMESH_REDIRECT_UNREAD_BYTES : unread != 0)
		return send_plain(exchange, mine, size);

	read_peer_key(message, &key);
	if (bpf_msg_redirect_hash(message, &peers, &key, BPF_F_INGRESS) != SK_PASS) {
		count_redirect(KMESH_REDIRECT_ABSENT, 1);
		return send_plain(exchange, mine, size);
	}
	if (!mine->redirecting) {
		mine->redirecting = 1;
		mine->plain = tcp->write_seq - theirs->first_read;
		count_redirect(KMESH_REDIRECT_STARTED, 1);
	}
	mine->plain_run = 0;
	mine->redirected += size;
	count_redirect(KMESH_REDIRECT_BYTES, size);
	count_redirect(KMESH_REDIRECT_MESSAGES, 1);
	return PASS;
}

/* Every recvmsg of the machine that returned: how a reader reads, and how much it has read. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(kmesh_received, struct sock *sk, int length, int flags)
{
	struct kmesh_exchange_side *mine;
	struct kmesh_exchange *exchange;
	struct kmesh_flow *flow;

	if (length <= 0)
		return 0;
	flow = bpf_sk_storage_get(&flows, sk, 0, 0);
	exchange = flow ? find_exchange(flow) : NULL;
	if (!exchange)
		return 0;
	mine = &exchange->sides[flow->exchange_side & 1];
	if ((flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)) || sk->sk_rcvlowat > 1) {
		mine->flags |= KMESH_EXCHANGE_UNSUITABLE;
		return 0;
	}
	mine->reads += 1;
	__sync_fetch_and_add(&mine->received, length);
	return 0;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
