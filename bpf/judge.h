/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Judges which packets may pass between two enrolled pods of this node without the tunnel path, by
 * the tables at that instant.
 *
 * Functions here use neither packet bytes nor hooks, and write only `connections`:
 * test/kernel-path/model/interleavings.c compiles this file for user space and tries every order of
 * its table accesses relative to those of the daemon.
 *
 * The daemon's side of the rules, implemented by VerdictTable and PodAddressTable:
 *  - permissions are removed from `verdicts` or `pod_addresses` first, then
 *    `generation` grows, then a grace period passes, and only then is the change complete;
 *  - a judgement is cached under the generation that was read before judging. So one
 *    based on tables of before a change is repeated with the next packet.
 */
#pragma once

#include "kmesh_maps.h"
#include "order.h"
#include "verdicts.h"

#include <bpf/bpf_endian.h>
#include <stdbool.h>

/* One direction of a connection. */
struct segment {
	const union kmesh_address *source;
	const union kmesh_address *destination;
	__u16 source_port_be;
	__u16 destination_port_be;
	__u32 interface; /* ingress interface on the node; 0: not at such an interface */
};

static __always_inline bool is_lower(const struct segment *segment)
{
	if (segment->source->halves[1] != segment->destination->halves[1])
		return segment->source->halves[1] < segment->destination->halves[1];
	if (segment->source->halves[0] != segment->destination->halves[0])
		return segment->source->halves[0] < segment->destination->halves[0];
	return segment->source_port_be < segment->destination_port_be;
}

/* Both directions of a connection have one key. Returns true when the source is its low end. */
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
	PASSAGE_UNKNOWN, /* not a connection that the wire opened */
	PASSAGE_ALLOWED,
	PASSAGE_REFUSED,   /* a connection that is denied now */
	PASSAGE_UNDECIDED, /* policies are changing: expect a retransmission */
};

/* Allows if both are certain, each matches the interface of its packets, and policy allows it now.
 */
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

/* Reads the state of a connection. Its memory may be reused at any time: then the result belongs to
 * the other connection or to neither, never a mix of both. */
static __always_inline bool read_connection(const struct kmesh_connection *from, __u32 tuple,
					    struct kmesh_connection *to)
{
	*to = *from;
	order_loads();
	to->stamp.word = *(const volatile __u64 *)&from->stamp.word;
	return to->stamp.tuple == tuple;
}

/*
 * Returns whether policy allows a connection now. `seen` was read from `connection`. If one end is
 * no longer an enrolled pod there is nothing to attest: the entry is deleted, and the other end
 * treats its packets as a stranger's.
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
	OPENING_CAPTURED, /* not certain, or not allowed: left to the tunnel path */
	OPENING_ALLOWED,
	OPENING_REPEATED,  /* allowed, a retransmission without an answer */
	OPENING_UNDECIDED, /* policies are changing: expect a retransmission */
	OPENING_REFUSED,   /* was allowed at first, so its pod did not capture it */
};

/*
 * A SYN leaves its pod. Only an allowed one creates an entry; an entry of an earlier
 * connection with these addresses and ports is replaced or removed.
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
	/* Only its own pod may remove a connection: others may send anything. */
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
	/* A retransmission; it is judged again on arrival. */
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
 * A SYN arrives at its destination pod. Only one with an entry of the wire
 * is exempted from capture, after judging it again. One that is denied by now is not captured
 * either: its own pod let it out as allowed, and here it would be judged as one without identity.
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

/*
 * A server answers a SYN that is not the one of the entry: an earlier connection had these
 * addresses and ports, and the server has forgotten it. The SYN had another destination when the
 * wire saw it, which the node translated, and the answer has to take the same way back.
 */
static __always_inline void end_earlier(const struct segment *segment, __u32 acknowledgement)
{
	struct kmesh_connection *connection, seen;
	struct kmesh_connection_key key;
	bool lower = make_key(segment, &key);

	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection || !read_connection(connection, hash_tuple(&key), &seen))
		return;
	/* Only the server itself may end it. */
	if (seen.client_is_high != lower || segment->interface != seen.server_interface)
		return;
	if (bpf_ntohl(acknowledgement) != bpf_ntohl(seen.sequence) + 1)
		bpf_map_delete_elem(&connections, &key);
}

/* The wire's action on a later packet that leaves its pod. */
struct delivery {
	enum passage passage;
	__u32 interface; /* node side of the other pod */
	bool delivered;	 /* directly into the pod; else through the node's stack */
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
	/* A spoofed packet with these addresses: the destination pod refuses it. */
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

/* A later packet arrives that was not delivered by the wire. */
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
	/* Packets delivered by the wire have its mark: this one came by another route. */
	return passage == PASSAGE_ALLOWED && seen.delivered ? PASSAGE_REFUSED : passage;
}
