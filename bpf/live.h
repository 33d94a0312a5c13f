/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which flows are established now. Each that is reported has a place in `live` from its opening to
 * its end. Free places are a stack: the one that was given back last is taken next, so that short
 * connections use a few places that are in the cache, and all places that were ever used are at the
 * front.
 */
#pragma once

#include "kmesh_maps.h"
#include "order.h"

#include <stdbool.h>

/* Other processors may change the stack meanwhile; each time it is tried again. */
#define KMESH_LIVE_TRIES 16

/* In place of a socket's address: to be given back. */
#define KMESH_LIVE_LEFT 1

static __always_inline struct kmesh_live *find_place(__u32 place)
{
	__u32 index = (place - 1) / KMESH_LIVE_BLOCK;
	struct kmesh_live_block *block = bpf_map_lookup_elem(&live, &index);

	return block ? &block->places[(place - 1) % KMESH_LIVE_BLOCK] : NULL;
}

static __always_inline struct kmesh_live_places *find_places(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&live_places, &zero);
}

/* The upper half of the head makes that a stack which is as it was, and was not meanwhile, is not
 * taken for unchanged. */
static __always_inline __u64 next_head(__u64 head, __u32 place)
{
	return ((head >> 32) + 1) << 32 | place;
}

/* Returns a place, from 1, or 0 when there is none. */
static __always_inline __u32 take_place(void)
{
	struct kmesh_live_places *places = find_places();
	struct kmesh_live *first;
	__u64 head, next;
	__u32 place;

	if (!places)
		return 0;
	for (int i = 0; i < KMESH_LIVE_TRIES; i++) {
		head = *(volatile __u64 *)&places->free;
		place = head;
		if (!place)
			break;
		first = find_place(place);
		if (!first)
			return 0;
		order_loads();
		next = next_head(head, *(volatile __u32 *)&first->next);
		if (__sync_val_compare_and_swap(&places->free, head, next) == head)
			return place;
	}
	if (*(volatile __u32 *)&places->used >= KMESH_MAX_LIVE)
		return 0;
	place = __sync_fetch_and_add(&places->used, 1) + 1;
	return place <= KMESH_MAX_LIVE ? place : 0;
}

/* Gives a place back that no flow has any more. One that cannot be given back, because other
 * processors change the stack again and again, is left to the reader. */
static __always_inline void give_place(__u32 place, struct kmesh_live *given)
{
	struct kmesh_live_places *places = find_places();
	__u64 head;

	if (!places)
		return;
	for (int i = 0; i < KMESH_LIVE_TRIES; i++) {
		head = *(volatile __u64 *)&places->free;
		*(volatile __u32 *)&given->next = head;
		if (__sync_val_compare_and_swap(&places->free, head, next_head(head, place)) ==
		    head)
			return;
	}
	*(volatile __u64 *)&given->socket = KMESH_LIVE_LEFT;
}

/* From now on the flow is found. What describes it must have been written. */
static __always_inline void begin_live(struct bpf_sock_ops *ctx, const struct bpf_sock *sk,
				       struct kmesh_flow *flow)
{
	__u32 place = take_place();
	struct kmesh_live *live_flow;

	if (!place)
		return;
	live_flow = find_place(place);
	if (!live_flow)
		return;
	flow->place = place;
	live_flow->flow = (__u64)flow;
	live_flow->cookie = bpf_get_socket_cookie(ctx);
	live_flow->uses += 1;
	order_stores();
	*(volatile __u64 *)&live_flow->socket = (__u64)sk;
}

/* Gives the place back of a socket, unless that was done before. */
static __always_inline void leave_place(struct kmesh_live *left, __u32 place, __u64 socket)
{
	if (__sync_val_compare_and_swap(&left->socket, socket, 0) == socket)
		give_place(place, left);
}

/* From now on it is not. Neither its socket nor its flow is freed before. */
static __always_inline void end_live(const struct bpf_sock *sk, struct kmesh_flow *flow)
{
	__u32 place = flow->place;
	struct kmesh_live *live_flow;
	__u64 socket;

	if (!place)
		return;
	flow->place = 0;
	live_flow = find_place(place);
	if (!live_flow)
		return;
	/* A plain number, which the socket's address is not to the verifier. */
	socket = *(volatile __u64 *)&live_flow->socket;
	if (socket == (__u64)sk)
		leave_place(live_flow, place, socket);
}
