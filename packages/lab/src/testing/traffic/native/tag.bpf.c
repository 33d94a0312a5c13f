// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Adds 802.1Q tags to outgoing packets, and counts tagged packets that arrive. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tagged SEC(".maps");

/* Priority 3 of the untagged network (VLAN 0): an IP stack without VLAN devices takes it as its
 * own. */
SEC("tc")
int tag(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, bpf_htons(0x8100), 3 << 13);
	return 0;
}

SEC("tc")
int tag_twice(struct __sk_buff *skb)
{
	bpf_skb_vlan_push(skb, bpf_htons(0x8100), 3 << 13);
	return tag(skb);
}

SEC("tc")
int count(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&tagged, &key);

	if (value && skb->vlan_present)
		__sync_fetch_and_add(value, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
