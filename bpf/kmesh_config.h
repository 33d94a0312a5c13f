/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Numbers that the programs need to know, each with its reason. */
#pragma once

/* The mark of the proxy's own sockets in a pod (contract 11.1). Only these twelve bits are the
 * mesh's: CNI plugins and kube-proxy own others. */
#define KMESH_PROXY_MARK 0x539
#define KMESH_PROXY_MARK_MASK 0xfff

/* Default capacities; the daemon may set others before load. */
#define KMESH_MAX_FRONTENDS 524288
#define KMESH_MAX_CIDR_FRONTENDS 16384
#define KMESH_MAX_SERVICE_PORTS 131072
#define KMESH_MAX_ENDPOINTS 524288

/* Connects that are between the hook and their SYN at one instant, at most one per thread that
 * runs: a small table stays in the nearest cache. */
#define KMESH_DIALS 64

/* A slot this old belongs to a connect that failed before its SYN. At any HZ that is at least a
 * second. */
#define KMESH_DIAL_STALE_JIFFIES 1000

/* Ring of 8 MiB: 65,536 records, more than a second of 30,000 connections/s opened and closed. */
#define KMESH_EVENT_RING_BYTES (8 * 1024 * 1024)
