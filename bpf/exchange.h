/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The slot that the two sockets of a connection share. */
#pragma once

#include "kmesh_maps.h"

#include <stdbool.h>

/* Spreads the slots; set to a random number at load, so that no pod can aim at another's. */
const volatile __u64 kmesh_exchange_seed __weak = 0x9e3779b97f4a7c15ull;

/* Set in the instance that the daemon tries redirect with before it uses it: both ends are then in
 * one namespace. */
const volatile __u32 kmesh_self_test __weak = 0;

static __always_inline void count_redirect(__u32 what, __u64 amount)
{
	__u64 *counter = bpf_map_lookup_elem(&redirect_counts, &what);

	if (counter)
		*counter += amount;
}

static __always_inline struct kmesh_exchange *find_exchange(const struct kmesh_flow *flow)
{
	__u32 index = flow->exchange - 1;

	return flow->exchange ? bpf_map_lookup_elem(&exchanges, &index) : NULL;
}

static __always_inline __u64 mix(__u64 hash, __u64 value)
{
	hash = (hash ^ value) * 0xff51afd7ed558ccdull;
	return hash ^ (hash >> 32);
}

/* Whether `key` is the side with the lower address and port: side 0. */
static __always_inline __u32 side_of(const struct kmesh_peer_key *key)
{
	if (key->local.halves[0] != key->remote.halves[0])
		return key->local.halves[0] > key->remote.halves[0];
	if (key->local.halves[1] != key->remote.halves[1])
		return key->local.halves[1] > key->remote.halves[1];
	return key->local_port_be > key->remote_port_be;
}

/* What both sides of a connection call it. */
struct connection {
	const union kmesh_address *low, *high;
	__u32 ports;
	__u32 side; /* which of the two is asking */
};

static __always_inline void name_connection(const struct kmesh_peer_key *key,
					    struct connection *connection)
{
	__u32 side = side_of(key);

	connection->side = side;
	connection->low = side ? &key->remote : &key->local;
	connection->high = side ? &key->local : &key->remote;
	connection->ports = side ? (__u32)key->remote_port_be << 16 | key->local_port_be
				 : (__u32)key->local_port_be << 16 | key->remote_port_be;
}

/* Never 0. */
static __always_inline __u64 hash_connection(const struct connection *connection)
{
	__u64 hash = kmesh_exchange_seed;

	hash = mix(hash, connection->low->halves[0]);
	hash = mix(hash, connection->low->halves[1]);
	hash = mix(hash, connection->high->halves[0]);
	hash = mix(hash, connection->high->halves[1]);
	hash = mix(hash, connection->ports);
	return hash ? hash : 1;
}

static __always_inline bool is_of(const struct kmesh_exchange *exchange,
				  const struct connection *connection)
{
	return exchange->low.halves[0] == connection->low->halves[0] &&
	       exchange->low.halves[1] == connection->low->halves[1] &&
	       exchange->high.halves[0] == connection->high->halves[0] &&
	       exchange->high.halves[1] == connection->high->halves[1] &&
	       exchange->ports == connection->ports;
}

/* When the client of a connection with this hash joined last; the low bits choose the slot. */
static __always_inline __u64 *last_joining(__u64 hash)
{
	__u32 index = (hash >> 32) & (KMESH_JOININGS - 1);

	return bpf_map_lookup_elem(&joinings, &index);
}

/* Takes this side's part of the connection's slot: the one that its peer took already, or a free
 * one. Returns 1 + its index, 0 when there is none. */
static __always_inline __u32 take_exchange(const struct connection *connection, __u64 hash,
					   __u32 first_read, bool create)
{
	struct kmesh_exchange *exchange;
	__u32 index, attempt;

#pragma unroll
	for (attempt = 0; attempt < KMESH_EXCHANGE_TRIES; attempt++) {
		index = ((__u32)hash + attempt) & (KMESH_MAX_EXCHANGES - 1);
		exchange = bpf_map_lookup_elem(&exchanges, &index);
		if (!exchange)
			return 0;
		if (exchange->owner == hash) {
			/* Or held by an older connection of the same addresses and ports. */
			if (exchange->broken || !is_of(exchange, connection) ||
			    (exchange->flags[connection->side & 1] & KMESH_EXCHANGE_JOINED))
				return 0;
		} else {
			if (!create)
				continue;
			if (__sync_val_compare_and_swap(&exchange->owner, 0, hash) != 0)
				continue;
			exchange->low = *connection->low;
			exchange->high = *connection->high;
			exchange->ports = connection->ports;
			exchange->given_up_ns = 0;
			exchange->broken = 0;
			exchange->flags[0] = exchange->flags[1] = 0;
			__builtin_memset(exchange->sides, 0, sizeof(exchange->sides));
		}
		exchange->sides[connection->side & 1].first_read = first_read;
		__sync_fetch_and_add(&exchange->users, 1);
		return index + 1;
	}
	return 0;
}

/* Place of a side's socket in `peers`. */
static __always_inline __u32 place_of(const struct kmesh_flow *flow, __u32 side)
{
	return 2 * (flow->exchange - 1) + (side & 1);
}

/* Whether everything that `from` redirected has been read by `to`. */
static __always_inline bool is_drained(const struct kmesh_exchange_side *from,
				       const struct kmesh_exchange_side *to)
{
	return (__s32)((__u32)to->received - ((__u32)from->redirected + from->plain)) >= 0;
}

/* Of a server: how many of its connections had joined for nothing, or KMESH_REDIRECT_NEVER. */
static __always_inline __u32 *uselessness(const union kmesh_address *server, __u16 port_be)
{
	__u32 index =
	    mix(mix(server->halves[1], server->halves[0]), port_be) & (KMESH_REDIRECT_SCORES - 1);

	return bpf_map_lookup_elem(&redirect_useless, &index);
}

/* Whether the client of a connection should join. */
static __always_inline bool is_worth_joining(const struct kmesh_peer_key *key)
{
	__u32 *useless = uselessness(&key->remote, key->remote_port_be);

	if (!useless || *useless < KMESH_REDIRECT_USELESS)
		return true;
	return *useless != KMESH_REDIRECT_NEVER &&
	       bpf_get_prandom_u32() % KMESH_REDIRECT_TRY_ONE_OF == 0;
}

/* The client of a connection that had joined closes it. */
static __always_inline void judge_joining(const struct kmesh_flow *flow,
					  const struct kmesh_peer_key *key)
{
	struct kmesh_exchange *exchange = find_exchange(flow);
	__u32 *useless;

	if (!exchange || flow->direction != KMESH_DIRECTION_OUTBOUND)
		return;
	useless = uselessness(&key->remote, key->remote_port_be);
	if (!useless || *useless == KMESH_REDIRECT_NEVER)
		return;
	if (exchange->sides[0].redirected || exchange->sides[1].redirected)
		*useless = 0;
	else if (*useless < KMESH_REDIRECT_USELESS)
		*useless += 1;
}

/* This side's reader waits inside recvmsg, or reads in another way that a socket in a sock map does
 * not serve: the connection leaves it, and no other one to the same server joins. */
static __always_inline void give_up_reader(struct kmesh_exchange *exchange,
					   const struct kmesh_flow *flow)
{
	__u32 side = flow->exchange_side & 1, *useless;

	exchange->flags[side] |= KMESH_EXCHANGE_UNSUITABLE;
	if (!exchange->given_up_ns)
		exchange->given_up_ns = bpf_ktime_get_ns();
	if (flow->direction != KMESH_DIRECTION_INBOUND)
		return;
	useless = side ? uselessness(&exchange->high, exchange->ports)
		       : uselessness(&exchange->low, exchange->ports >> 16);
	if (useless)
		*useless = KMESH_REDIRECT_NEVER;
}

/* This side's socket is gone. The last one frees the slot. */
static __always_inline void leave_exchange(struct kmesh_flow *flow)
{
	struct kmesh_exchange *exchange = find_exchange(flow);

	if (!exchange)
		return;
	flow->exchange = 0;
	exchange->broken = 1;
	exchange->flags[flow->exchange_side & 1] = KMESH_EXCHANGE_UNSUITABLE;
	if (__sync_fetch_and_add(&exchange->users, -1) == 1)
		exchange->owner = 0;
}
