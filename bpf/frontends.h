/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading `frontends` while the daemon writes it.
 *
 * - An entry appears when its `place` is stored, after all its other fields, and only in an entry
 *   that was free since before the last barrier (a grace period): a program that found a key in an
 *   entry never sees another key's fields there.
 * - `decision`, `range4` and `range6` of a live entry change by one 64-bit store each. Where two of
 *   them would have to change together, the key gets a second entry; the old one is taken away one
 *   barrier later, so that a program which had passed the new place before it was filled still
 *   finds the old one. Both are complete, so it does not matter which is found.
 * - A key is found by what is in the entries; `held` only spares looking at places that the key
 *   cannot be in. It is set after the entry is there and cleared after it is gone.
 */
#pragma once

#include "kmesh_maps.h"

/* Drawn at load, so that nobody can choose addresses that collide. */
const volatile __u64 kmesh_hash_keys[KMESH_HASH_KEYS] = {0};
const volatile __u32 kmesh_frontend_mask = KMESH_FRONTEND_ENTRIES - 1;

/* Not 0: this machine may perform loads in another order than the program asks for. */
const volatile __u32 kmesh_weakly_ordered = 0;

/* Multilinear hashing (Lemire and Kaser): with random keys two given inputs collide with
 * probability 2^-32, whoever chose them. The same function is in hash-frontend.ts. */
static __always_inline __u32 hash_frontend(const struct kmesh_frontend_key *key)
{
	__u64 sum = kmesh_hash_keys[0];

	sum += kmesh_hash_keys[1] * key->address.words[3];
	sum += kmesh_hash_keys[2] * (__u32)key->place;
	sum += kmesh_hash_keys[3] * (__u32)(key->place >> 32);
	sum += kmesh_hash_keys[4] * key->address.words[2];
	sum += kmesh_hash_keys[5] * key->address.words[1];
	sum += kmesh_hash_keys[6] * key->address.words[0];
	return sum >> 32;
}

/* What is loaded after it must not have been loaded before what precedes it. Where the machine
 * gives no such order an atomic operation that returns a value does; everywhere the compiler must
 * be told. */
static __always_inline void order_loads(void)
{
	__u64 fence = 0;

	if (kmesh_weakly_ordered)
		__sync_fetch_and_add(&fence, 1);
	asm volatile("" ::: "memory");
}

static __always_inline bool is_key_of(const struct kmesh_frontend *entry,
				      const struct kmesh_frontend_key *key)
{
	if (*(const volatile __u64 *)&entry->place != key->place)
		return false;
	order_loads();
	return entry->address.halves[1] == key->address.halves[1] &&
	       entry->address.halves[0] == key->address.halves[0];
}

#define KMESH_NO_PLACE 0xffffffffu

/* Where a key is that is not at home. Global, so that the verifier walks the loop once and not for
 * every caller: Linux 6.1 would come within a hair of its limit. */
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
		if (entry && is_key_of(entry, key))
			return index;
	}
	return KMESH_NO_PLACE;
}

/* The entry of a key, or NULL. */
static __always_inline struct kmesh_frontend *find_entry(const struct kmesh_frontend_key *key)
{
	__u32 home = hash_frontend(key) & kmesh_frontend_mask, held, index;
	struct kmesh_frontend *entry = bpf_map_lookup_elem(&frontends, &home);

	if (!entry || is_key_of(entry, key))
		return entry;
	held = *(volatile __u32 *)&entry->held;
	if (held <= 1)
		return NULL;
	/* No place is past the end of the table, whatever its size. */
	index = probe_frontend(key, home, held);
	return bpf_map_lookup_elem(&frontends, &index);
}
