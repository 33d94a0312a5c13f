/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What may pass between two enrolled pods of this node without the tunnel path, judged for each
 * packet by what the tables say at that instant.
 *
 * No function here knows of packets' bytes or of hooks, and none keeps anything but `connections`:
 * test/kernel-path/model/interleavings.c compiles this file for user space and tries every order of
 * its table accesses among those of the daemon.
 *
 * The daemon's side of the rules, kept by VerdictTable and PodAddressTable:
 *  - what is not allowed any more is taken out of `verdicts` or `pod_addresses` first, then
 *    `generation` grows, then a grace period passes, and only then the change counts as made;
 *  - a judgement is kept under the generation that was read before it was made. So one that was
 *    made by tables of before a change is made anew with the next packet.
 */
#pragma once

#include "kmesh_maps.h"
#include "order.h"
#include "verdicts.h"

#include <stdbool.h>

/* One direction of a connection. */
struct segment {
	const union kmesh_address *source;
	const union kmesh_address *destination;
	__u16 source_port_be;
	__u16 destination_port_be;
	__u32 interface; /* of the node, where it came from; 0: not at such an interface */
};

static __always_inline bool is_lower(const struct segment *segment)
{
	if (segment->source->halves[1] != segment->destination->halves[1])
		return segment->source->halves[1] < segment->destination->halves[1];
	if (segment->source->halves[0] != segment->destination->halves[0])
		return segment->source->halves[0] < segment->destination->halves[0];
	return segment->source_port_be < segment->destination_port_be;
}

/* Both directions of a connection have one key. True when the source is its low end. */
static __always_inline bool make_key(const struct segment *segment,
				     struct kmesh_connection_key *key)
{
	bool lower = is_lower(segment);

	key->low = lower ? *segment->source : *segment->destination;
	key->high = lower ? *segment->destination : *segment->source;
	key->low_port_be = lower ? segment->source_port_be : segment->destination_port_be;
	key->high_port_be = lower ? segment->destination_port_be : segment->source_port_be;
	key->reserved = 0;
	return lower;
}

static __always_inline struct kmesh_owner *find_owner(const union kmesh_address *address)
{
	return bpf_map_lookup_elem(&pod_addresses, address);
}

enum passage {
	PASSAGE_UNKNOWN, /* of no connection that the wire opened */
	PASSAGE_ALLOWED,
	PASSAGE_REFUSED,   /* of one that may not go on */
	PASSAGE_UNDECIDED, /* policies change at this instant: it will be sent again */
};

/* Allowed when both are certain, each is where its packets come from, and policy says so now. */
static __always_inline enum passage ask(const struct kmesh_owner *client,
					const struct kmesh_owner *server, __u16 port_be)
{
	bool changing;

	if (!client->identity || !server->identity || !client->interface || !server->interface)
		return PASSAGE_REFUSED;
	changing = is_changing(server->workload);
	if (is_allowed(server->workload, client->identity, port_be))
		return PASSAGE_ALLOWED;
	return changing || is_changing(server->workload) ? PASSAGE_UNDECIDED : PASSAGE_REFUSED;
}

static __always_inline __u32 read_generation(const struct kmesh_lease *lease)
{
	__u32 generation = *(const volatile __u32 *)&lease->generation;

	order_loads();
	return generation;
}

static __always_inline __u32 hash_tuple(const struct kmesh_connection_key *key)
{
	__u64 low = key->low.halves[0] ^ key->low.halves[1], high = key->high.halves[0];

	high ^= key->high.halves[1];
	low = low * 0x9e3779b97f4a7c15ull + high +
	      ((__u64)key->low_port_be << 16 | key->high_port_be);
	return (low * 0xc2b2ae3d27d4eb4full) >> 32;
}

/* What is known of a connection. Its memory may become another's at any time: then it is that one's
 * or neither's, never a mix of both. */
static __always_inline bool read_connection(const struct kmesh_connection *from, __u32 tuple,
					    struct kmesh_connection *to)
{
	*to = *from;
	order_loads();
	to->stamp.word = *(const volatile __u64 *)&from->stamp.word;
	return to->stamp.tuple == tuple;
}

/*
 * Whether policy allows a connection now. `seen` is what was read of `connection`. When one end is
 * no enrolled pod any more there is nothing to attest: it is forgotten, and the other end takes the
 * packets of that one for a stranger's.
 */
static __always_inline enum passage judge(const struct kmesh_lease *lease,
					  struct kmesh_connection *connection,
					  const struct kmesh_connection *seen,
					  const struct kmesh_connection_key *key)
{
	union kmesh_stamp judged = seen->stamp;
	struct kmesh_owner *client, *server;
	enum passage passage;

	judged.generation = read_generation(lease);
	if (judged.generation == seen->stamp.generation)
		return PASSAGE_ALLOWED;
	client = find_owner(seen->client_is_high ? &key->high : &key->low);
	server = find_owner(seen->client_is_high ? &key->low : &key->high);
	if (!client || !server) {
		bpf_map_delete_elem(&connections, key);
		return PASSAGE_UNKNOWN;
	}
	if (client->interface != seen->client_interface ||
	    server->interface != seen->server_interface)
		return PASSAGE_REFUSED;
	passage = ask(client, server, seen->client_is_high ? key->low_port_be : key->high_port_be);
	if (passage != PASSAGE_ALLOWED)
		return passage;
	__sync_val_compare_and_swap(&connection->stamp.word, seen->stamp.word, judged.word);
	return PASSAGE_ALLOWED;
}

enum opening {
	OPENING_CAPTURED, /* not certain, or not allowed: the tunnel path answers */
	OPENING_ALLOWED,
	OPENING_REPEATED,  /* allowed, and not answered the last time */
	OPENING_UNDECIDED, /* policies change at this instant: it will be sent again */
	OPENING_REFUSED,   /* was allowed when it was sent first: its pod did not capture it */
};

/*
 * A first packet leaves its pod. An entry is made only of an allowed one; what an earlier
 * connection left under these addresses and ports goes with it.
 */
static __always_inline enum opening open_connection(const struct kmesh_lease *lease, bool expired,
						    const struct segment *segment, __u32 sequence)
{
	struct kmesh_connection connection = {.sequence = sequence};
	struct kmesh_connection_key key;
	struct kmesh_connection *earlier;
	struct kmesh_owner *client, *server;
	enum passage passage;
	bool repeated;

	connection.client_is_high = !make_key(segment, &key);
	connection.stamp.tuple = hash_tuple(&key);
	connection.stamp.generation = read_generation(lease);
	client = find_owner(segment->source);
	/* Only its own pod may take a connection out: others may send what they like. */
	if (!client || client->interface != segment->interface)
		return OPENING_CAPTURED;
	earlier = bpf_map_lookup_elem(&connections, &key);
	server = find_owner(segment->destination);
	repeated = earlier && earlier->sequence == sequence &&
		   earlier->client_is_high == connection.client_is_high;
	passage = expired || !server || client->netns_cookie == server->netns_cookie
		      ? PASSAGE_UNKNOWN
		      : ask(client, server, segment->destination_port_be);
	if (passage == PASSAGE_UNDECIDED)
		return OPENING_UNDECIDED;
	if (passage != PASSAGE_ALLOWED || !server) {
		if (repeated && server)
			return OPENING_REFUSED;
		if (earlier)
			bpf_map_delete_elem(&connections, &key);
		return OPENING_CAPTURED;
	}
	/* The same packet once more; it is judged again where it arrives. */
	if (repeated)
		return earlier->answered ? OPENING_ALLOWED : OPENING_REPEATED;
	connection.client_interface = client->interface;
	connection.server_interface = server->interface;
	connection.client_identity = client->identity;
	connection.delivered = client->flags & server->flags & KMESH_OWNER_DELIVERED;
	__builtin_memcpy(connection.client_mac, client->mac, sizeof(client->mac));
	__builtin_memcpy(connection.server_mac, server->mac, sizeof(server->mac));
	return bpf_map_update_elem(&connections, &key, &connection, BPF_ANY) ? OPENING_CAPTURED
									     : OPENING_ALLOWED;
}

/*
 * A first packet arrives at the pod that it is for. Only the one of which the wire made an entry is
 * let past capture, judged again. The one that may not pass any more is not captured either: its
 * own pod let it out as one that policy allows, and here it would be judged as one without
 * identity.
 */
static __always_inline enum passage admit_opening(const struct kmesh_lease *lease,
						  const struct segment *segment, __u32 sequence)
{
	struct kmesh_connection *connection, seen;
	struct kmesh_connection_key key;
	bool lower = make_key(segment, &key);

	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection || !read_connection(connection, hash_tuple(&key), &seen) ||
	    seen.sequence != sequence || seen.client_is_high == lower)
		return PASSAGE_UNKNOWN;
	return judge(lease, connection, &seen, &key);
}

/* What the wire does with a later packet that leaves its pod. */
struct delivery {
	enum passage passage;
	__u32 interface; /* the node's side of the other pod */
	bool delivered;	 /* straight into it; else the node's way */
	__u8 mac[6];	 /* the other pod's */
};

static __always_inline void deliver(const struct kmesh_lease *lease, bool expired,
				    const struct segment *segment, struct delivery *delivery)
{
	struct kmesh_connection *connection, seen;
	struct kmesh_connection_key key;
	bool lower = make_key(segment, &key), by_client;

	delivery->passage = PASSAGE_UNKNOWN;
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection || !read_connection(connection, hash_tuple(&key), &seen))
		return;
	by_client = seen.client_is_high != lower;
	/* A foreign packet with these addresses: the pod that it is for refuses it. */
	if (segment->interface != (by_client ? seen.client_interface : seen.server_interface))
		return;
	if (!by_client && !seen.answered)
		connection->answered = true;
	delivery->interface = by_client ? seen.server_interface : seen.client_interface;
	__builtin_memcpy(delivery->mac, by_client ? seen.server_mac : seen.client_mac,
			 sizeof(delivery->mac));
	delivery->delivered = seen.delivered;
	delivery->passage = expired ? PASSAGE_REFUSED : judge(lease, connection, &seen, &key);
}

/* A later packet arrives that the wire did not bring. */
static __always_inline enum passage admit_segment(const struct kmesh_lease *lease, bool expired,
						  const struct segment *segment, bool resets)
{
	struct kmesh_connection *connection, seen;
	struct kmesh_connection_key key;
	enum passage passage;

	make_key(segment, &key);
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection || !read_connection(connection, hash_tuple(&key), &seen))
		return PASSAGE_UNKNOWN;
	if (resets && !seen.delivered)
		return PASSAGE_ALLOWED;
	if (expired)
		return PASSAGE_REFUSED;
	passage = judge(lease, connection, &seen, &key);
	/* What the wire brings bears its mark: this came by another way. */
	return passage == PASSAGE_ALLOWED && seen.delivered ? PASSAGE_REFUSED : passage;
}
