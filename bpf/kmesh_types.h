/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every structure that the kernel programs share with user space. TypeScript's view is generated
 * from the BTF of these definitions, so this file is the only place where a layout is written.
 *
 * Addresses are 16 bytes in network order; IPv4 is stored IPv4-mapped (::ffff:a.b.c.d), so one table
 * serves both families. Ports are in network order where the name ends in _be, else in host order.
 */
#pragma once

#include <linux/types.h>

/* Bumped whenever a layout below changes: pins of another version are replaced, never read. */
#define KMESH_LAYOUT_VERSION 1

union kmesh_address {
	__u8 bytes[16];
	__u32 words[4];
	__u64 halves[2];
};

/* pods: network-namespace cookie -> pod. Written only by the daemon; absence means "not enrolled". */
struct kmesh_pod {
	__u32 workload; /* id of the pod's own workload, 0 while it is unknown */
	__u32 namespace_id;
	__u32 flags; /* enum kmesh_pod_flag */
	__u32 reserved;
};

enum kmesh_pod_flag {
	KMESH_POD_CAPTURED = 1 << 0, /* istio-cni's redirect rules are in the pod's namespace */
};

/*
 * frontends: what an address and port mean to a client namespace.
 *
 * Looked up first with client_namespace 0 (what every namespace sees). An entry with
 * KMESH_FRONTEND_SCOPED set has other views: the client's own namespace is then asked. port_be 0 is
 * the entry of the address itself: a workload (any port), or a service whose undeclared ports are refused.
 */
struct kmesh_frontend_key {
	union kmesh_address address;
	__u32 client_namespace;
	__u16 port_be;
	__u16 reserved;
};

enum kmesh_frontend_action {
	KMESH_FRONTEND_TUNNEL = 0,   /* the tables cannot decide: the tunnel path does */
	KMESH_FRONTEND_BALANCE = 1,  /* choose an endpoint of service port `target` */
	KMESH_FRONTEND_WORKLOAD = 2, /* the address is that of workload `target`: keep it */
	KMESH_FRONTEND_REFUSE = 3,   /* known to the mesh, but nothing can answer */
	KMESH_FRONTEND_OUTSIDE = 4,  /* leave alone: passthrough service or unknown address */
};

enum kmesh_frontend_flag {
	KMESH_FRONTEND_SCOPED = 1 << 0,
};

struct kmesh_frontend {
	__u16 action; /* enum kmesh_frontend_action */
	__u16 flags;  /* enum kmesh_frontend_flag */
	__u32 target; /* service port id or workload id */
	__u32 service; /* service id, for telemetry; 0 when there is none */
	__u32 reserved;
};

/* cidr_frontends: longest-prefix match; only asked when the exact address is unknown. */
struct kmesh_cidr_key {
	__u32 prefix_length; /* 32 bits of client_namespace + the address prefix */
	__u32 client_namespace;
	union kmesh_address address;
};

/*
 * service_ports (mmap-able array): where the endpoints of one service port are. `base` and `count` are flipped
 * together by one 64-bit store: count in the upper half, base in the lower.
 */
struct kmesh_service_port {
	__u64 range;
};

/*
 * endpoints (mmap-able array): slots of an alias table (Vose), so a weighted choice costs one random
 * number and one or two slots however many endpoints there are.
 */
struct kmesh_endpoint {
	union kmesh_address address;
	__u32 workload;
	__u16 port_be; /* target port */
	__u16 flags;   /* enum kmesh_endpoint_flag */
	__u32 alias;	 /* slot, relative to base, taken when the draw is not below threshold */
	__u32 threshold;
};

enum kmesh_endpoint_flag {
	KMESH_ENDPOINT_TUNNEL = 1 << 0, /* HBONE, another network, needs a waypoint: not for the kernel path */
};
