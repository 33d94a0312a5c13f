/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the join program and the tunnel's engine share. */
#pragma once

#include <linux/types.h>

enum {
	/* Connections that one engine can join. */
	KMESH_JOINS = 4096,
	/* Payload of a segment that is redirected at most: the kernel sends larger ones on in
	 * pieces, which costs more than to copy them. */
	KMESH_JOIN_SEGMENT_BYTES = 2048,
	/* Redirected bytes that the peer's host has not acknowledged, and segments that were
	 * redirected since all of them were in its queue, before the engine takes over. */
	KMESH_JOIN_OUTSTANDING_BYTES = 65536,
	KMESH_JOIN_SEGMENTS = 1024,
	/* Bytes that one call takes off the front of a segment at most, and calls for the largest
	 * segment there can be, 512 KiB. */
	KMESH_JOIN_PULL_BYTES = 4095,
	KMESH_JOIN_PULLS = 130,
	/* Room for a record of each connection, twice. */
	KMESH_JOIN_RING_BYTES = 32 * KMESH_JOINS,
};

/* What comes from one of the two sockets and goes to the other. */
struct kmesh_join_direction {
	__u64 cookie;	  /* of the socket whose bytes these are */
	__u64 passed;	  /* bytes left to the engine; the kernel writes */
	__u64 redirected; /* bytes that went to the peer's socket; the kernel writes */
	__u64 delivered;  /* passed bytes that are in the peer's send queue; the engine writes */
	__u32 expected;	  /* the peer's write sequence once all redirected bytes are in its queue */
	__u32 segments;
	__u32 redirecting;
	__u32 begun;	/* whether `sequence` counts */
	__u32 sequence; /* of the byte after the last that the program saw */
	__u32 unused;
};

struct kmesh_join {
	struct kmesh_join_direction directions[2];
	__u32 wanted; /* whether to redirect; the engine writes */
	__u32
	    asleep; /* the engine is not told of input; the kernel clears it when it passes bytes */
	__u32 broken; /* the kernel could not keep the order; the engine has to reset both sides */
	__u32 unused;
};
