// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Writes connection events as sockops does, one per run, at any rate: ends of connections, or
 * alternately openings and closings. The number of runs determines the expected events: connection
 * i (from 0) has cookie i + 1, sends i % 1000 bytes and receives i % 500.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kmesh_config.h"
#include "kmesh_types.h"

const volatile __u32 with_openings = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KMESH_EVENT_RING_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} events_lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

static __always_inline void set_address(union kmesh_address *address, __u32 host)
{
	address->words[2] = bpf_htonl(0xffff);
	address->words[3] = bpf_htonl(host);
}

SEC("tc")
int emit(struct __sk_buff *skb)
{
	__u64 run, connection, *count, *lost;
	struct kmesh_event *event;
	__u32 zero = 0, closing;

	count = bpf_map_lookup_elem(&runs, &zero);
	if (!count)
		return 0;
	run = (*count)++;
	connection = with_openings ? run >> 1 : run;
	closing = !with_openings || run & 1;

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		lost = bpf_map_lookup_elem(&events_lost, &zero);
		if (lost)
			*lost += 1;
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	event->netns_cookie = 1 + connection % 32;
	/* The cookie of a connection that is reported once was never generated. */
	event->socket_cookie = with_openings ? connection + 1 : 0;
	event->service = 1 + connection % 16;
	event->workload = 1 + connection % 64;
	event->kind = closing ? KMESH_EVENT_CLOSED : KMESH_EVENT_OPENED;
	event->direction = KMESH_DIRECTION_OUTBOUND;
	event->path = KMESH_PATH_KERNEL;
	set_address(&event->local, 0x0a000001 + connection % 32);
	set_address(&event->remote, 0x0a010001 + connection % 64);
	event->dialled = event->remote;
	event->local_port_be = bpf_htons(1024 + connection % 60000);
	event->remote_port_be = event->dialled_port_be = bpf_htons(8080);
	event->srtt_us = 60;
	event->min_rtt_us = 40;
	if (closing) {
		event->bytes_sent = connection % 1000;
		event->bytes_received = connection % 500;
		event->duration_ns = 1000000;
	}
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
