/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fast path of a dial, entirely in registers: the address and port are those of a
 * service, with the same view in every namespace, and the chosen endpoint may be dialled directly.
 *
 * Anything else returns NULL before any change, and the
 * general path of connect.bpf.c decides it from the start, with the same draw.
 */
#pragma once

#include "address.h"
#include "capture.h"
#include "frontends.h"
#include "remember.h"
#include "stay.h"

#define PORT_DNS 53

static __always_inline __u64 read_decision(const union kmesh_decision *decision)
{
	return *(const volatile __u64 *)&decision->word;
}

/*
 * Returns a random number for a connect: SplitMix64, whose state is in the cache line of `dials`
 * that the connect needs anyway. The helper's state is elsewhere, and it costs as much as the rest
 * of the choice.
 */
static __always_inline __u32 draw_for(const struct bpf_sock *sk)
{
	struct kmesh_dial *dial;
	__u64 state;
	__u32 index;

	if (!sk)
		return 0;
	index = dial_index(sk);
	dial = bpf_map_lookup_elem(&dials, &index);
	if (!dial)
		return 0;
	state = *(volatile __u64 *)&dial->draws + 0x9e3779b97f4a7c15;
	*(volatile __u64 *)&dial->draws = state;
	/* Each line has a different start, and so does each load. */
	state += kmesh_hash_keys[0] + ((__u64)index << 48);
	state = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
	state = (state ^ state >> 27) * 0x94d049bb133111eb;
	return state >> 32;
}

/* Returns 1 if `draw` is above `threshold`, else 0; by arithmetic that the compiler must not
 * convert to a jump, which weights would make unpredictable. */
static __always_inline __u64 is_above(__u32 draw, __u32 threshold)
{
	__u64 difference = (__u64)threshold - draw;

	asm volatile("" : "+r"(difference));
	return difference >> 63;
}

/*
 * One draw per connect selects both the slot and one of its two endpoints:
 * the upper half of draw x count is the slot; the lower half is the rest of the draw,
 * uniform enough for 2^32 over the endpoints of one service.
 *
 * The address follows the endpoint in memory; see read_choice.
 */
static __always_inline struct kmesh_endpoint *choose_endpoint(__u64 range, __u32 draw, bool mapped)
{
	__u32 base = range, count = range >> 32, slot, index;
	union kmesh_slots *slots;
	__u64 product;

	product = (__u64)draw * count;
	slot = product >> 32;
	if (mapped) {
		struct kmesh_slot4 *slot4;

		slot += base;
		index = slot / 2;
		slots = bpf_map_lookup_elem(&endpoints, &index);
		if (!slots)
			return NULL;
		slot4 = &slots->v4[slot & 1];
		return &slot4->choices[is_above(product, slot4->threshold)].endpoint;
	}
	index = base / 2 + slot;
	slots = bpf_map_lookup_elem(&endpoints, &index);
	if (!slots)
		return NULL;
	return &slots->v6.choices[is_above(product, slots->v6.threshold)].endpoint;
}

/* The destination that replaces a service. */
struct choice {
	union kmesh_address address;
	__u16 port_be;
};

/* Reads an endpoint returned by choose_endpoint. */
static __always_inline struct choice read_choice(const struct kmesh_endpoint *endpoint, bool mapped)
{
	struct choice choice = {.port_be = endpoint->port_be};

	if (mapped) {
		const struct kmesh_choice4 *chosen = (const struct kmesh_choice4 *)endpoint;

		choice.address.halves[1] = (__u64)chosen->address << 32 | bpf_htonl(0xffff);
	} else {
		choice.address = ((const struct kmesh_choice6 *)endpoint)->address;
	}
	return choice;
}

/* Returns the endpoint to dial instead, recorded for sockops; or NULL. See read_choice. */
static __always_inline struct kmesh_endpoint *balance(struct bpf_sock_addr *ctx,
						      const struct kmesh_pod *pod,
						      const union kmesh_address dialled, __u32 draw)
{
	const __u16 port_be = ctx->user_port;
	const bool mapped = is_mapped(&dialled);
	struct bpf_sock *sk = ctx->sk;
	union kmesh_decision decision;
	struct kmesh_endpoint *endpoint;
	struct kmesh_frontend *frontend;
	struct kmesh_dial *dial;
	__u64 range;

	if (!sk || sk->src_port || is_loopback(&dialled) || is_proxy(sk))
		return NULL;
	if (pod->flags && port_be == bpf_htons(PORT_DNS))
		return NULL;

	frontend =
	    find_frontend(dialled.halves[0], dialled.halves[1], KMESH_FRONTEND_PLACE(0, port_be));
	if (!frontend)
		return NULL;
	decision.word = read_decision(&frontend->decision);
	range =
	    mapped ? *(volatile __u64 *)&frontend->range4 : *(volatile __u64 *)&frontend->range6;
	/* The action without flags. */
	if ((__u32)decision.word != KMESH_FRONTEND_BALANCE || !(range >> 32))
		return NULL;

	endpoint = choose_endpoint(range, draw, mapped);
	if (!endpoint || !endpoint->port_be || endpoint->flags & ~KMESH_ENDPOINT_VERDICT)
		return NULL;
	if (endpoint->flags && (is_own(pod, endpoint->workload) ||
				!may_stay(ctx, pod, endpoint->workload, endpoint->port_be) ||
				is_unreachable(endpoint->workload, endpoint->port_be)))
		return NULL;
	if (pod->flags & KMESH_POD_CAPTURED && !pass_capture(ctx))
		return NULL;

	dial = claim_dial(sk);
	if (!dial)
		return NULL;
	/* Counted by sockops when it takes the dial over, because every balanced connection
	 * waits for this path. */
	fill_dial(dial, &dialled, port_be, decision.service, endpoint->workload, true);
	return endpoint;
}
