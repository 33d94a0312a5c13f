// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * sk_msg on the sockets of `peers`: moves a message straight into the queue of the peer's socket.
 *
 * A socket reads redirected bytes before those that came by TCP, and only by recvmsg. So a
 * direction begins to redirect only when its reader has returned from recvmsg every byte that was
 * ever sent to it: then nothing is under way by TCP that a redirected byte could overtake, and the
 * reader has shown how it reads. Bytes that it took by splice or MSG_PEEK never make the sums
 * equal. The kernel may answer EAGAIN to one that waits inside recvmsg, whether something was
 * redirected to it or not, so such a connection leaves the sock map at the first read that shows
 * it. Leaving for TCP keeps the order at any time, so a direction may go back and
 * forth. The same sums tell how much lies unread, which bounds the queue.
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

/* Bytes that `mine` sent and `theirs` has not returned from recvmsg. */
static __always_inline __u32 unread_bytes(const struct kmesh_exchange_side *mine,
					  const struct kmesh_exchange_side *theirs, __u32 plain)
{
	return (__u32)mine->redirected + plain -
	       (__u32) * (volatile const __u64 *)&theirs->received;
}

/* Whether a direction that goes by TCP may begin to redirect: its reader has shown how it reads and
 * has read everything. */
static __always_inline bool may_begin(struct sk_msg_md *message, struct kmesh_exchange_side *mine,
				      const struct kmesh_exchange_side *theirs, __u32 wanted)
{
	struct tcp_sock *tcp;
	__u32 plain;

	if (theirs->reads < wanted)
		return false;
	tcp = bpf_skc_to_tcp_sock(message->sk);
	if (!tcp)
		return false;
	plain = tcp->write_seq - theirs->first_read;
	if (unread_bytes(mine, theirs, plain))
		return false;
	mine->plain = plain;
	mine->room = KMESH_REDIRECT_UNREAD_BYTES;
	return true;
}

/* Whether a direction that redirects may go on. What the reader has read is looked at only once in
 * so many bytes. */
static __always_inline bool may_go_on(struct kmesh_exchange_side *mine,
				      const struct kmesh_exchange_side *theirs, __u32 size)
{
	__u32 unread;

	if (size <= mine->room)
		return true;
	unread = unread_bytes(mine, theirs, mine->plain);
	if (unread > KMESH_REDIRECT_UNREAD_BYTES - KMESH_REDIRECT_MESSAGE_BYTES)
		return false;
	mine->room = KMESH_REDIRECT_UNREAD_BYTES - unread;
	return true;
}

#ifdef KMESH_SPOIL_REDIRECT
/* Does what a kernel that is not fit for redirect might do: in an object for tests only. */
static __noinline void spoil(struct sk_msg_md *message)
{
	__u8 *data;

	if (bpf_msg_pull_data(message, 0, 1, 0))
		return;
	data = message->data;
	if (data + 1 <= (__u8 *)message->data_end)
		*data ^= 1;
}
#endif

SEC("sk_msg")
int kmesh_redirect(struct sk_msg_md *message)
{
	struct kmesh_exchange_side *mine, *theirs;
	__u32 size = message->size, wanted, side;
	struct kmesh_exchange *exchange;
	struct kmesh_flow *flow;

	if (!message->sk)
		return PASS;
	flow = bpf_sk_storage_get(&flows, message->sk, 0, 0);
	exchange = flow ? find_exchange(flow) : NULL;
	if (!exchange)
		return PASS;
	side = flow->exchange_side & 1;
	mine = &exchange->sides[side];
	theirs = &exchange->sides[side ^ 1];
	wanted = reads_wanted();
	if (!wanted || exchange->given_up_ns || size >= KMESH_REDIRECT_MESSAGE_BYTES ||
	    exchange->flags[side ^ 1] != KMESH_EXCHANGE_JOINED)
		return send_plain(exchange, mine, size);
	if (mine->redirecting ? !may_go_on(mine, theirs, size)
			      : !may_begin(message, mine, theirs, wanted))
		return send_plain(exchange, mine, size);
#ifdef KMESH_SPOIL_REDIRECT
	spoil(message);
#endif
	if (bpf_msg_redirect_map(message, &peers, place_of(flow, side ^ 1), BPF_F_INGRESS) !=
	    SK_PASS) {
		count_redirect(KMESH_REDIRECT_ABSENT, 1);
		return send_plain(exchange, mine, size);
	}
	if (!mine->redirecting) {
		mine->redirecting = 1;
		mine->plain_run = 0;
		count_redirect(KMESH_REDIRECT_STARTED, 1);
	}
	mine->room -= size;
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

	/* A socket in a sock map has user data: all others are told apart by one load. */
	if (length <= 0 || !sk->sk_user_data)
		return 0;
	flow = bpf_sk_storage_get(&flows, sk, 0, 0);
	exchange = flow ? find_exchange(flow) : NULL;
	if (!exchange)
		return 0;
	if ((flags & ~(MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)) != MSG_DONTWAIT || sk->sk_rcvlowat > 1) {
		give_up_reader(exchange, flow);
		return 0;
	}
	mine = &exchange->sides[flow->exchange_side & 1];
	/* Should two threads read at once and one of the sums be lost, more seems unread than is.
	 */
	mine->reads += 1;
	mine->received += length;
	return 0;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
