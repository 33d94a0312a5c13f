/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections that do not leave the node: between two enrolled pods that the wire attests, and
 * between an application and its pod's proxy. Options of their sockets. */
#pragma once

#include "kmesh_maps.h"
#include "kernel_types.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#define IPPROTO_TCP 6
#define TCP_CONGESTION 13

/* There is no network in between that could be congested, and BBR's pacing halves the throughput of
 * bulk there and costs a timer per burst. An explicit choice for this socket or the route is
 * preserved. */
static __always_inline void send_unpaced(struct bpf_sock_ops *ctx, struct tcp_sock *tcp)
{
	struct inet_connection_sock *connection = (struct inet_connection_sock *)tcp;
	const struct tcp_congestion_ops *algorithm = connection->icsk_ca_ops;
	char reno[] = "reno";

	if (algorithm->name[0] != 'b' || algorithm->name[1] != 'b' || algorithm->name[2] != 'r')
		return;
	if (BPF_CORE_READ_BITFIELD(connection, icsk_ca_setsockopt) ||
	    BPF_CORE_READ_BITFIELD(connection, icsk_ca_dst_locked))
		return;
	bpf_setsockopt(ctx, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno));
}
