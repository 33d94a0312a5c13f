/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Constants of the programs, each with its reason. */
#pragma once

/* The mark of the proxy's own sockets in a pod (contract 11.1). Only these twelve bits belong to
 * the mesh: CNI plugins and kube-proxy use others. */
#define KMESH_PROXY_MARK 0x539
#define KMESH_PROXY_MARK_MASK 0xfff

/* Default capacities; the daemon may set others before load. */
/* A power of two, twice the maximum number of frontends: 262,144 in 32 MiB. */
#define KMESH_FRONTEND_ENTRIES 524288
#define KMESH_MAX_CIDR_FRONTENDS 16384
/* Slots for IPv4 endpoints; an IPv6 endpoint takes two. */
#define KMESH_MAX_ENDPOINTS 524288

/* Connects between the hook and their SYN at one instant, at most one per running thread:
 * a small table stays in the L1 cache. */
#define KMESH_DIALS 64

/* A slot this old belongs to a connect that failed before its SYN. At least a second at any HZ.
 */
#define KMESH_DIAL_STALE_JIFFIES 1000

/* Ring of 8 MiB: 55,000 records, about a second of 30,000 connections/s opened and closed. */
#define KMESH_EVENT_RING_BYTES (8 * 1024 * 1024)

/* Addresses of enrolled pods. */
#define KMESH_MAX_POD_ADDRESSES 32768

/* The kernel path's marks (README.md, "Past capture"), on packets and, the first, on sockets
 * that connect exempts from capture in their own pod. Sixteen bits of the mark are ours, the others
 * are preserved. */
#define KMESH_MARK_MASK 0xffff
#define KMESH_MARK 0x4b4d	  /* past capture */
#define KMESH_MARK_DOUBTED 0x4b4e /* reset if exempted from capture into the pod */
#define KMESH_MARK_REFUSED 0x4b4f /* reset */

/* Connections between the pods of this node that the wire opened. */
#define KMESH_MAX_CONNECTIONS 131072

/* Entries for ports that do not answer: a power of two. */
#define KMESH_UNREACHABLE_PLACES 4096

#define KMESH_MAX_VERDICTS 262144

/* Open connections that are reported while open, and whose counts a daemon
 * records; the others are counted when they close. 8 MiB of places. */
#define KMESH_MAX_LIVE 262144

/* Records per run of the reader: 0.7 MiB. */
#define KMESH_LIVE_FLOWS 4096

/* Rate limit for a pod that dials refused addresses in a loop, so that it fills neither the ring
 * nor the log: reported refusals per 2^30 ns, about a second, and CPU; none while the
 * ring is a quarter full. Pods share a budget only if there are more pods than budgets. */
#define KMESH_REFUSAL_BUDGETS 1024
#define KMESH_REFUSALS_REPORTED 500
#define KMESH_REFUSAL_SPAN_BITS 30
#define KMESH_REFUSAL_RING_BYTES (KMESH_EVENT_RING_BYTES / 4)

/* Pods whose tunnelled connections the connect hook hands to their proxy. */
#define KMESH_MAX_HANDOFF_PODS 8192

/* Connections between their SYN and the proxy's accept. */
#define KMESH_MAX_HANDOFFS 65536

/* Port of the pod's proxy for outbound connections (ambient contract 4). */
#define KMESH_PORT_OUTBOUND 15001
