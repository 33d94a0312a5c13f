// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Stream verdict on the two sockets of a passthrough connection that the engine has joined: a
 * segment goes to the peer's send queue, or stays for the engine to read.
 *
 * Order: a segment is redirected only when every byte that was left to the engine is in the peer's
 * send queue already, and the engine writes there only when every redirected byte is. So either may
 * follow the other at any time.
 *
 * Back-pressure: the kernel acknowledges a redirected segment at once and queues it without bound.
 * So a segment is redirected only while the peer's send queue has room for it: what would have to
 * wait is left to the engine, whose reading closes the sender's window.
 */
#include "../kernel_types.h"
#include "join_types.h"

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2 * KMESH_JOINS);
	__type(key, __u64);   /* cookie of one socket */
	__type(value, __u64); /* the other */
} join_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * KMESH_JOINS);
	__type(key, __u64);   /* a socket's cookie */
	__type(value, __u32); /* twice its index in `joins`, plus its side */
} join_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, KMESH_JOINS);
	__type(key, __u32);
	__type(value, struct kmesh_join);
} joins SEC(".maps");

/* Places whose engine has to wake. At most one record of each connection is unread. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KMESH_JOIN_RING_BYTES);
} join_wakes SEC(".maps");

/* What TCP sends again it may cut otherwise, so a segment can begin with bytes that came before.
 * Who reads a TCP socket has them skipped; a program is given them like new ones. */
static __always_inline bool skip_repeated(struct __sk_buff *segment,
					  struct kmesh_join_direction *way, struct tcp_sock *tcp)
{
	const void *block = __builtin_preserve_access_index(&((struct sk_buff *)segment)->cb);
	__u32 sequence = 0, part;
	__s32 repeated;

	if (bpf_core_read(&sequence, sizeof(sequence), &((struct tcp_skb_cb *)block)->seq))
		return false;
	if (!way->begun) {
		way->sequence = tcp->copied_seq;
		way->begun = 1;
	}
	repeated = way->sequence - sequence;
	if (repeated > (__s32)segment->len)
		return false;
	way->sequence = sequence + segment->len;
	for (int count = 0; count < KMESH_JOIN_PULLS && repeated > 0; count++) {
		part = repeated > KMESH_JOIN_PULL_BYTES ? KMESH_JOIN_PULL_BYTES : repeated;
		if (bpf_skb_adjust_room(segment, -(__s32)part, 0, 0))
			return false;
		repeated -= part;
	}
	return repeated <= 0;
}

static __always_inline bool has_room(struct kmesh_join_direction *way, struct tcp_sock *peer,
				     __u32 size)
{
	struct sock *sk = (struct sock *)peer;
	__u32 outstanding, buffer;

	if (!way->redirecting) {
		/* Nothing is under way: what the engine wrote is in the queue. */
		way->expected = peer->write_seq;
		way->segments = 0;
	} else if (way->expected == peer->write_seq) {
		way->segments = 0;
	}
	outstanding = way->expected - peer->snd_una;
	if (!outstanding)
		return true;
	outstanding += size;
	buffer = (__u32)sk->sk_sndbuf / 4;
	return way->segments < KMESH_JOIN_SEGMENTS && outstanding <= KMESH_JOIN_OUTSTANDING_BYTES &&
	       outstanding <= buffer && (__u32)sk->sk_wmem_queued <= buffer;
}

static __always_inline bool redirect(struct __sk_buff *segment, struct kmesh_join_direction *way,
				     __u64 cookie)
{
	struct bpf_sock *peer = bpf_map_lookup_elem(&join_peers, &cookie);
	struct tcp_sock *tcp;
	bool room;

	if (!peer)
		return false;
	tcp = bpf_skc_to_tcp_sock(peer);
	room = tcp && has_room(way, tcp, segment->len);
	bpf_sk_release(peer);
	if (!room || bpf_sk_redirect_hash(segment, &join_peers, &cookie, 0) != SK_PASS)
		return false;
	way->redirecting = 1;
	way->segments += 1;
	way->expected += segment->len;
	way->redirected += segment->len;
	return true;
}

static __always_inline void wake(struct kmesh_join *join, __u32 index)
{
	if (__sync_lock_test_and_set(&join->asleep, 0))
		bpf_ringbuf_output(&join_wakes, &index, sizeof(index), 0);
}

SEC("sk_skb/stream_verdict")
int kmesh_join_verdict(struct __sk_buff *segment)
{
	struct kmesh_join_direction *way;
	struct kmesh_join *join;
	struct tcp_sock *tcp;
	__u32 *place, index;
	__u64 cookie;

	/* Only an end, which the socket knows already. Queued behind redirected segments it would
	 * be taken for a failure to send them. */
	if (!segment->len)
		return SK_DROP;
	if (!segment->sk)
		return SK_PASS;
	tcp = bpf_skc_to_tcp_sock(segment->sk);
	if (!tcp)
		return SK_PASS;
	cookie = ((struct sock *)tcp)->__sk_common.skc_cookie.counter;
	place = bpf_map_lookup_elem(&join_places, &cookie);
	if (!place)
		return SK_PASS;
	index = *place >> 1;
	join = bpf_map_lookup_elem(&joins, &index);
	if (!join)
		return SK_PASS;
	way = &join->directions[*place & 1];
	if (way->cookie != cookie)
		return SK_PASS;
	if (join->broken)
		return SK_DROP;
	if (!skip_repeated(segment, way, tcp)) {
		*(volatile __u32 *)&join->broken = 1;
		wake(join, index);
		return SK_DROP;
	}
	if (!segment->len)
		return SK_DROP;
	if (join->wanted && segment->len <= KMESH_JOIN_SEGMENT_BYTES &&
	    *(volatile __u64 *)&way->delivered == way->passed && redirect(segment, way, cookie))
		return SK_PASS;
	way->redirecting = 0;
	__sync_fetch_and_add(&way->passed, segment->len);
	wake(join, index);
	return SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
