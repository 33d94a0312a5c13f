// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Reads the currently established flows on request of the daemon: one record per flow in
 * `live_flows`, as if it had just opened. Runs in the daemon's system call without locks, so
 * sockets continue meanwhile: a result counts only if the place in `live` belonged to the socket
 * before and after, and then neither the socket nor its flow was freed in between. Reads kernel
 * memory at the addresses in `live`: a read of an invalid address fails.
 */
#include "kmesh_maps.h"
#include "judge.h"
#include "kernel_types.h"
#include "live.h"
#include "measure.h"
#include "order.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define AF_INET 2

struct bpf_map;

struct live_walk {
	__u32 from;
	__u32 next;
	__u32 count;
	__u32 used;
};

static __always_inline void read_ends(const struct sock *sk, struct kmesh_event *event)
{
	const struct sock_common *common = &sk->__sk_common;

	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
		event->local.halves[0] = event->remote.halves[0] = 0;
		event->local.words[2] = event->remote.words[2] = bpf_htonl(0xffff);
		event->local.words[3] = BPF_CORE_READ(common, skc_rcv_saddr);
		event->remote.words[3] = BPF_CORE_READ(common, skc_daddr);
	} else {
		bpf_core_read(&event->local, sizeof(event->local), &common->skc_v6_rcv_saddr);
		bpf_core_read(&event->remote, sizeof(event->remote), &common->skc_v6_daddr);
	}
	event->local_port_be = bpf_htons(BPF_CORE_READ(common, skc_num));
	event->remote_port_be = BPF_CORE_READ(common, skc_dport);
}

/*
 * Returns whether the socket's lock is free, and no context handles packets that arrived while an
 * application held it.
 * With another kind of kernel locks that is unknown: then false.
 */
static __always_inline bool is_unlocked(const struct sock *sk)
{
	const struct raw_spinlock *lock = &sk->sk_lock.slock.rlock;
	__u32 word = 1;

	if (!bpf_core_field_exists(sk->sk_lock.slock.rlock))
		return false;
	if (bpf_core_read(&word, sizeof(word), &lock->raw_lock) != 0)
		return false;
	return word == 0 && BPF_CORE_READ(sk, sk_lock.owned) == 0;
}

/* States in which a FIN was sent, and may be among the bytes acknowledged. */
static __always_inline bool has_sent_fin(__u8 state)
{
	return state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING;
}

/* States in which the peer's FIN has arrived. */
static __always_inline bool has_got_fin(__u8 state)
{
	return state == BPF_TCP_CLOSE_WAIT || state == BPF_TCP_LAST_ACK || state == BPF_TCP_CLOSING;
}

/*
 * Never more than was carried; possibly a byte less for a moment. The kernel counts a received FIN
 * as a byte and then changes the state, in one hold of the socket's lock. If the lock is free after
 * reading the counter, the state therefore includes a FIN that the counter has; otherwise a FIN may
 * be in the counter, and a byte is left to the next report. A sent FIN is in the state long before
 * it is acknowledged.
 */
static __always_inline void read_bytes(const struct tcp_sock *tcp, struct kmesh_event *event,
				       bool *settled)
{
	event->bytes_sent = BPF_CORE_READ(tcp, bytes_acked);
	event->bytes_received = BPF_CORE_READ(tcp, bytes_received);
	order_loads();
	*settled = is_unlocked((const struct sock *)tcp);
	order_loads();
}

/* Subtracts the sequence numbers of SYN and FIN. */
static __always_inline void leave_flags_out(const struct kmesh_flow *flow, bool settled,
					    struct kmesh_event *event)
{
	__u64 sequence =
	    (flow->direction == KMESH_DIRECTION_OUTBOUND) + has_sent_fin(flow->tcp_state);

	event->bytes_sent -= event->bytes_sent < sequence ? event->bytes_sent : sequence;
	if (event->bytes_received && (!settled || has_got_fin(flow->tcp_state)))
		event->bytes_received -= 1;
}

static __always_inline void describe(const struct tcp_sock *tcp, const struct kmesh_flow *flow,
				     struct kmesh_event *event)
{
	read_ends((const struct sock *)tcp, event);
	event->time_ns = bpf_ktime_get_ns();
	event->netns_cookie = flow->netns_cookie;
	event->duration_ns = event->time_ns - flow->started_ns;
	event->dialled = flow->dialled;
	event->service = flow->service;
	event->workload = flow->workload;
	event->srtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
	event->min_rtt_us = BPF_CORE_READ(tcp, rtt_min.s[0].v);
	event->retransmissions = BPF_CORE_READ(tcp, total_retrans);
	event->dialled_port_be = flow->dialled_port_be;
	event->kind = KMESH_EVENT_OPENED;
	event->direction = flow->direction;
	event->path = flow->path;
	event->close_reason = KMESH_CLOSE_NORMAL;
	event->reserved = 0;
	event->peer_identity = flow->peer_identity;
	event->attested = flow->attested;
}

/*
 * An idle connection uses its entry in `connections` only here. Otherwise connections that others
 * open and close would evict it, and its next packet would reset it.
 */
static __always_inline void use_connection(const struct kmesh_flow *flow,
					   const struct kmesh_event *event)
{
	struct segment segment = {&event->local, &event->remote, event->local_port_be,
				  event->remote_port_be, 0};
	struct kmesh_connection_key key;

	/* Its other end is one of the other flows. */
	if (!flow->attested || flow->direction != KMESH_DIRECTION_OUTBOUND)
		return;
	make_key(&segment, &key);
	bpf_map_lookup_elem(&connections, &key);
}

/* Returns whether the socket at the address is still this one, and has not ended. A socket's end is
 * reported to the programs before its state changes. */
static __always_inline bool is_open(const struct sock *sk, __u64 cookie)
{
	__u64 found = 0;

	bpf_core_read(&found, sizeof(found), &sk->__sk_common.skc_cookie.counter);
	return found == cookie && BPF_CORE_READ(sk, __sk_common.skc_state) != BPF_TCP_CLOSE;
}

/* Writes the record of a place; returns false if there is nothing to write. Global, so that the
 * verifier walks it once and not for each place of a block. */
__noinline int read_place(struct kmesh_live *place, __u32 number, struct kmesh_event *event)
{
	__u64 socket, address;
	const struct tcp_sock *tcp;
	struct kmesh_flow flow;
	bool settled;
	__u32 uses;

	if (!place || !event)
		return false;
	socket = *(volatile __u64 *)&place->socket;
	if (!socket)
		return false;
	order_loads();
	if (socket == KMESH_LIVE_LEFT) {
		leave_place(place, number, socket);
		return false;
	}
	uses = *(volatile __u32 *)&place->uses;
	address = place->flow;
	event->socket_cookie = place->cookie;
	tcp = (const struct tcp_sock *)socket;
	if (!is_open((const struct sock *)tcp, event->socket_cookie)) {
		/* If its flow does not know that it has ended, no program was at the hook, or
		 * other software removed its callbacks: no program will touch it again. */
		order_loads();
		if (*(volatile __u32 *)&place->uses == uses)
			leave_place(place, number, socket);
		return false;
	}
	read_bytes(tcp, event, &settled);
	if (bpf_probe_read_kernel(&flow, sizeof(flow), (const void *)address) != 0)
		return false;
	if (flow.stage != KMESH_FLOW_ESTABLISHED || flow.place != number)
		return false;
	leave_flags_out(&flow, settled, event);
	describe(tcp, &flow, event);
	use_connection(&flow, event);
	order_loads();
	return *(volatile __u64 *)&place->socket == socket &&
	       *(volatile __u32 *)&place->uses == uses;
}

static long read_block(struct bpf_map *map, const __u32 *index, struct kmesh_live_block *block,
		       struct live_walk *walk)
{
	__u32 number = *index * KMESH_LIVE_BLOCK + 1;
	struct kmesh_event *event;

	if (*index < walk->from)
		return 0;
	if (number > walk->used)
		return 1;
	if (walk->count > KMESH_LIVE_FLOWS - KMESH_LIVE_BLOCK) {
		walk->next = *index;
		return 1;
	}
	for (__u32 i = 0; i < KMESH_LIVE_BLOCK; i++) {
		if (!*(volatile __u64 *)&block->places[i].socket)
			continue;
		event = bpf_map_lookup_elem(&live_flows, &walk->count);
		if (!event)
			return 1;
		if (read_place(&block->places[i], number + i, event))
			walk->count += 1;
	}
	return 0;
}

SEC("syscall")
int kmesh_live(struct kmesh_live_request *request)
{
	struct kmesh_live_places *places = find_places();
	struct live_walk walk = {};

	if (!places)
		return 0;
	walk.from = request->from;
	walk.used = *(volatile __u32 *)&places->used;
	bpf_for_each_map_elem(&live, read_block, &walk, 0);
	request->next = walk.next;
	request->count = walk.count;
	return 0;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
