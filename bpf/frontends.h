/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading `frontends` while the daemon writes it.
 *
 * - An entry becomes visible when its `place` is stored, after all its other fields, and only in
 *   an entry that was free since before the last barrier (a grace period): a program that found a
 *   key in an entry never sees another key's fields there.
 * - `decision`, `range4` and `range6` of a live entry change by one 64-bit store each. If two of
 *   them must change together, the key gets a second entry; the old one is removed one
 *   barrier later, so that a program that had passed the new place before it was filled still
 *   finds the old one. Both are complete, so either may be found.
 * - A key is found by the contents of entries; `held` only skips places that
 *   cannot hold the key. Its bit is set after the entry is stored and cleared after it is removed.
 */
#pragma once

#include "kmesh_maps.h"
#include "order.h"

/* Random, chosen at load, so that no client can choose colliding addresses. */
const volatile __u64 kmesh_hash_keys[KMESH_HASH_KEYS] = {0};
const volatile __u32 kmesh_frontend_mask = KMESH_FRONTEND_ENTRIES - 1;

/* Multilinear hashing (Lemire and Kaser): with random keys two given inputs collide with
 * probability 2^-32, even if chosen by an attacker. The same function is in frontend-slots.ts.
 * The key is passed as its three 64-bit words, so that parts known at compile time cost
 * nothing. */
static __always_inline __u32 hash_frontend(__u64 high, __u64 low, __u64 place)
{
	__u64 sum = kmesh_hash_keys[0];

	sum += kmesh_hash_keys[1] * (low >> 32);
	sum += kmesh_hash_keys[2] * (__u32)place;
	if (place >> 32)
		sum += kmesh_hash_keys[3] * (place >> 32);
	sum += kmesh_hash_keys[4] * (__u32)low;
	if (high) {
		sum += kmesh_hash_keys[5] * (high >> 32);
		sum += kmesh_hash_keys[6] * (__u32)high;
	}
	return sum >> 32;
}

static __always_inline bool is_key_of(const struct kmesh_frontend *entry, __u64 high, __u64 low,
				      __u64 place)
{
	if (*(const volatile __u64 *)&entry->place != place)
		return false;
	order_loads();
	return entry->address.halves[1] == low && entry->address.halves[0] == high;
}

#define KMESH_NO_PLACE 0xffffffffu

/* Finds a key that is not at its home. Global, so that the verifier walks the loop once and not for
 * every caller: Linux 6.1 would come close to its limit. */
__weak __noinline __u32 probe_frontend(const struct kmesh_frontend_key *key, __u32 home, __u32 held)
{
	struct kmesh_frontend *entry;
	__u32 index = home;

	if (!key)
		return KMESH_NO_PLACE;
	for (__u32 step = 1; step < KMESH_FRONTEND_PROBES; step++) {
		index = (index + step) & kmesh_frontend_mask;
		held >>= 1;
		if (!held)
			break;
		if (!(held & 1))
			continue;
		entry = bpf_map_lookup_elem(&frontends, &index);
		if (entry &&
		    is_key_of(entry, key->address.halves[0], key->address.halves[1], key->place))
			return index;
	}
	return KMESH_NO_PLACE;
}

/* Returns the entry of a key that is not at its home, or NULL. */
static __noinline struct kmesh_frontend *search_frontend(__u64 high, __u64 low, __u64 place,
							 __u32 home, __u32 held)
{
	struct kmesh_frontend_key key = {.address.halves = {high, low}, .place = place};
	__u32 index;

	if (held <= 1)
		return NULL;
	/* No place exceeds the table, whatever its size. */
	index = probe_frontend(&key, home, held);
	return bpf_map_lookup_elem(&frontends, &index);
}

/* Returns the entry of a key, given as its three 64-bit words, or NULL. */
static __always_inline struct kmesh_frontend *find_frontend(__u64 high, __u64 low, __u64 place)
{
	__u32 home = hash_frontend(high, low, place) & kmesh_frontend_mask;
	struct kmesh_frontend *entry = bpf_map_lookup_elem(&frontends, &home);

	if (!entry || is_key_of(entry, high, low, place))
		return entry;
	return search_frontend(high, low, place, home, *(volatile __u32 *)&entry->held);
}

static __always_inline struct kmesh_frontend *find_entry(const struct kmesh_frontend_key *key)
{
	return find_frontend(key->address.halves[0], key->address.halves[1], key->place);
}
