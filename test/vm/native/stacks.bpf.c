// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program whose functions have stacks of known sizes; PROGRAM_ROOM is its own. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* The verifier counts what a helper writes. */
static __always_inline void fill(struct __sk_buff *packet, char *room, __u32 length)
{
	bpf_skb_load_bytes(packet, 0, room, length);
}

static __noinline int deep(struct __sk_buff *packet)
{
	char room[160];

	fill(packet, room, sizeof(room));
	return room[0];
}

static __noinline int middle(struct __sk_buff *packet)
{
	char room[160];

	fill(packet, room, sizeof(room));
	return deep(packet) + room[0];
}

static __noinline int wide(struct __sk_buff *packet)
{
	char room[240];

	fill(packet, room, sizeof(room));
	return room[0];
}

SEC("tc")
int kmesh_stacks(struct __sk_buff *packet)
{
	char room[PROGRAM_ROOM];

	fill(packet, room, sizeof(room));
	return middle(packet) + wide(packet) + room[0];
}

char _license[] SEC("license") = "Dual BSD/GPL";
