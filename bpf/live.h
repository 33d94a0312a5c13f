/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The established flows. Each reported flow has a place in `live` from its opening to
 * its end. Free places are a stack: the most recently freed is reused first, so that short
 * connections use few, cached places, and all places ever used are at the
 * front.
 */
#pragma once

#include "kmesh_maps.h"
#include "order.h"

#include <stdbool.h>

/* Tries of a change to the stack, which other CPUs may change concurrently. */
#define KMESH_LIVE_TRIES 16

/* Replaces a socket's address in a place that is yet to be freed. */
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

/* The upper half of the head avoids the ABA problem: a stack that was changed and
 * restored does not look unchanged. */
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

/* Frees a place that no flow uses any more. If that fails because other
 * CPUs keep changing the stack, the reader frees it. */
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

/* Makes the flow visible to the reader. Its description must have been written. */
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

/* Frees the place of a socket, unless that was done before. */
static __always_inline void leave_place(struct kmesh_live *left, __u32 place, __u64 socket)
{
	if (__sync_val_compare_and_swap(&left->socket, socket, 0) == socket)
		give_place(place, left);
}

/* Hides the flow from the reader. Neither its socket nor its flow is freed before. */
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
	/* A scalar, unlike the socket's address to the verifier. */
	socket = *(volatile __u64 *)&live_flow->socket;
	if (socket == (__u64)sk)
		leave_place(live_flow, place, socket);
}
