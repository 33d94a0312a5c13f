// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * An iterator over the socket storage `flows`: writes one record for each established connection of
 * the kernel path into `live_flows`, so that connections are seen while they last, and those whose
 * end was lost are found.
 *
 * Nothing is written to the iterator's own output: with output the kernel walks in pieces, and
 * between two pieces a flow can be missed when another one leaves its list. Without, one read is
 * one walk, which visits every flow that lives throughout. Flows that do not fit into `live_flows`
 * at once are asked for in shares.
 */
#include "measure.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#define AF_INET 2

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

#pragma clang attribute pop

/* The share that is wanted, and what came of it. One walk at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_live_report);
} live_report SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_LIVE_FLOWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_event);
} live_flows SEC(".maps");

static __always_inline void read_ends(struct sock *sk, struct kmesh_event *event)
{
	const struct sock_common *common = &sk->__sk_common;

	if (common->skc_family == AF_INET) {
		event->local.halves[0] = event->remote.halves[0] = 0;
		event->local.words[2] = event->remote.words[2] = bpf_htonl(0xffff);
		event->local.words[3] = common->skc_rcv_saddr;
		event->remote.words[3] = common->skc_daddr;
	} else {
		bpf_core_read(&event->local, sizeof(event->local), &common->skc_v6_rcv_saddr);
		bpf_core_read(&event->remote, sizeof(event->remote), &common->skc_v6_daddr);
	}
	event->local_port_be = bpf_htons(common->skc_num);
	event->remote_port_be = common->skc_dport;
}

static __always_inline void describe(struct tcp_sock *tcp, const struct kmesh_flow *flow,
				     struct kmesh_event *event)
{
	struct sock *sk = (struct sock *)tcp;

	event->time_ns = bpf_ktime_get_ns();
	event->netns_cookie = flow->netns_cookie;
	event->duration_ns = event->time_ns - flow->started_ns;
	read_ends(sk, event);
	event->dialled = flow->dialled;
	event->dialled_port_be = flow->dialled_port_be;
	event->service = flow->service;
	event->workload = flow->workload;
	event->srtt_us = tcp->srtt_us >> 3;
	event->min_rtt_us = tcp->rtt_min.s[0].v;
	event->retransmissions = tcp->total_retrans;
	event->kind = KMESH_EVENT_LIVE;
	event->direction = flow->direction;
	event->path = flow->path;
	event->close_reason = KMESH_CLOSE_NORMAL;
	event->counted_sent = flow->counted_sent;
	event->counted_received = flow->counted_received;
	event->counted_by = flow->counted_by;
	event->peer_identity = flow->peer_identity;
	event->attested = flow->attested;
	measure_bytes(tcp, flow, sk->__sk_common.skc_state, event);
}

/* Keeps in the flow what the daemon counts by this record. */
static __always_inline void mark_counted(struct kmesh_flow *flow, const struct kmesh_event *event,
					 const struct kmesh_live_report *report)
{
	flow->counted_by = report->generation;
	flow->counted_sent = event->bytes_sent;
	flow->counted_received = event->bytes_received;
}

SEC("iter/bpf_sk_storage_map")
int kmesh_live(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct kmesh_flow *flow = ctx->value;
	struct kmesh_live_report *report;
	struct sock *sk = ctx->sk;
	struct kmesh_event *event;
	struct tcp_sock *tcp;
	__u32 index = 0;
	__u64 cookie;

	if (!flow || !sk || flow->stage != KMESH_FLOW_ESTABLISHED || !is_reported(flow))
		return 0;
	/* Before the stage is looked at: see sockops. The kernel gives a cookie by an atomic
	 * operation, which orders the two. */
	cookie = bpf_get_socket_cookie(sk);
	if (*(volatile __u8 *)&flow->stage != KMESH_FLOW_ESTABLISHED)
		return 0;
	report = bpf_map_lookup_elem(&live_report, &index);
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!report || !tcp)
		return 0;
	if ((cookie & report->share_mask) != report->share)
		return 0;
	index = report->count;
	event = bpf_map_lookup_elem(&live_flows, &index);
	if (!event) {
		report->overflow += 1;
		return 0;
	}
	report->count = index + 1;
	event->socket_cookie = cookie;
	describe(tcp, flow, event);
	mark_counted(flow, event, report);
	return 0;
}

char _license[] __weak SEC("license") = "Dual BSD/GPL";
