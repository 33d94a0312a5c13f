/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Byte counts of a connection. */
#pragma once

#include "kmesh_maps.h"
#include "kernel_types.h"

#include <stdbool.h>

/* 1 << SOCK_DONE of the kernel's enum sock_flags: the peer's FIN has arrived. */
#define SK_FLAG_DONE (1UL << 1)

/* The tunnel path reports its own connections. Those of a pod to itself are not reported; on the
 * accepting side only the client's side reveals that, so they count as reported here. */
static __always_inline bool is_reported(const struct kmesh_flow *flow)
{
	return flow->path == KMESH_PATH_KERNEL ||
	       (flow->path == KMESH_PATH_OUTSIDE && flow->direction == KMESH_DIRECTION_INBOUND);
}

/* Reads cumulative counters of TCP, without the sequence numbers of SYN and FIN. `state` is the
 * socket's state before it closed. */
static __always_inline void measure_bytes(struct tcp_sock *tcp, const struct kmesh_flow *flow,
					  __u32 state, struct kmesh_event *event)
{
	struct sock *sk = (struct sock *)tcp;
	__u64 sent = tcp->bytes_acked, received = tcp->bytes_received;
	__u64 sequence;

	if (flow->direction == KMESH_DIRECTION_OUTBOUND && sent)
		sent -= 1;
	sequence = (state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_FIN_WAIT2 ||
		    state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK) &&
		   tcp->snd_nxt == tcp->snd_una;
	if (sent >= sequence)
		sent -= sequence;
	sequence = !!(sk->__sk_common.skc_flags & SK_FLAG_DONE);
	if (received >= sequence)
		received -= sequence;
	event->bytes_sent = sent;
	event->bytes_received = received;
}
