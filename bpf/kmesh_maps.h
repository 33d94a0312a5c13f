/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map, with its purpose. Weak, because each program's object defines them and the linked
 * object keeps one of each. Names are at most 15 characters long, the kernel's limit.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kmesh_config.h"
#include "kmesh_types.h"

/* Enrolled pods: looked up first by every hook, so that other sockets pay for one lookup only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_POD_BUCKETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_pod_bucket);
} pods __weak SEC(".maps");

/* Meaning of a dialled address and port. Mapped by the daemon, which keeps at least half of it
 * free.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_FRONTEND_ENTRIES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_frontend);
} frontends __weak SEC(".maps");

/* Meaning of an address that is covered only by a CIDR of a service. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, KMESH_MAX_CIDR_FRONTENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct kmesh_cidr_key);
	__type(value, union kmesh_decision);
} cidr_frontends __weak SEC(".maps");

/* Endpoint slots. Mapped by the daemon, which writes a range before any frontend refers to it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_MAX_ENDPOINTS / 2);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, union kmesh_slots);
} endpoints __weak SEC(".maps");

/* Switches of the running programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_settings);
} settings __weak SEC(".maps");

/* Decisions of the connect hook by enum kmesh_reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KMESH_REASON_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters __weak SEC(".maps");

/* Decisions passed from connect to sockops, within one system call. Mmap-able because its
 * values are then page-aligned, so that each has its own cache line. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_DIALS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_dial);
} dials __weak SEC(".maps");

/* State per socket: dialled address, ids, telemetry. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct kmesh_flow);
} flows __weak SEC(".maps");

/* Index of established flows; see live.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_MAX_LIVE / KMESH_LIVE_BLOCK);
	__type(key, __u32);
	__type(value, struct kmesh_live_block);
} live __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kmesh_live_places);
} live_places __weak SEC(".maps");

/* Results of the reader of live flows. Mapped by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_LIVE_FLOWS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_event);
} live_flows __weak SEC(".maps");

/* Bytes of open connections that daemons have counted, by socket cookie. No program uses it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KMESH_MAX_LIVE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct kmesh_counted);
} counted __weak SEC(".maps");

/* Opened, failed and closed connections, for the probe. Lossy: no decision depends on it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, KMESH_EVENT_RING_BYTES);
} events __weak SEC(".maps");

/* Records that did not fit into `events`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} events_lost __weak SEC(".maps");

/* Recently reported refusals, by network-namespace cookie modulo size. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KMESH_REFUSAL_BUDGETS);
	__type(key, __u32);
	__type(value, struct kmesh_refusal_budget);
} refusal_budgets __weak SEC(".maps");

/* Refusals counted but not reported: over the budget, or no room in `events`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} refusals_lost __weak SEC(".maps");

/* Addresses of enrolled pods. Written by the daemon only: a socket counts as a pod's own if both
 * agree. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KMESH_MAX_POD_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, union kmesh_address);
	__type(value, struct kmesh_owner);
} pod_addresses __weak SEC(".maps");

/* Who may connect to which workload of this node without the tunnel path. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KMESH_MAX_VERDICTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct kmesh_verdict_key);
	__type(value, __u32);
} verdicts __weak SEC(".maps");

/* Connections between pods of this node that the wire admitted. Least recently used: a pod can
 * keep many open, but cannot make new ones of other pods fail. The reader of live flows uses the
 * entries of idle connections, too. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, KMESH_MAX_CONNECTIONS);
	__type(key, struct kmesh_connection_key);
	__type(value, struct kmesh_connection);
} connections __weak SEC(".maps");

/* Lease of these programs. Mapped by the daemon, which renews it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct kmesh_lease);
} lease __weak SEC(".maps");

/* Ports that the node's network blocks, by a hash of workload and port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KMESH_UNREACHABLE_PLACES);
	__type(key, __u32);
	__type(value, struct kmesh_unreachable);
} unreachable __weak SEC(".maps");

/* Counters of the wire, by enum kmesh_wire_count. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KMESH_WIRE_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} wire_counts __weak SEC(".maps");

/* Pods whose tunnelled connections go directly to their proxy. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, KMESH_MAX_HANDOFF_PODS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct kmesh_handoff_pod);
} handoff_pods __weak SEC(".maps");

/* Endpoints chosen for connections of the tunnel path; the proxy removes each entry
 * when it accepts. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, KMESH_MAX_HANDOFFS);
	__type(key, struct kmesh_handoff_key);
	__type(value, struct kmesh_pick);
} picks __weak SEC(".maps");

/* Original destinations for the proxy, which removes each entry when it accepts. Entries left by a
 * proxy that died are evicted over time, hence least recently used. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, KMESH_MAX_HANDOFFS);
	__type(key, struct kmesh_handoff_key);
	__type(value, struct kmesh_handoff);
} handoffs __weak SEC(".maps");
