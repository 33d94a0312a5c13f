/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every structure shared by the kernel programs and user space. TypeScript's view is generated
 * from the BTF of these definitions, so this file is the only definition of a layout.
 *
 * Addresses are 16 bytes in network order; IPv4 is stored IPv4-mapped (::ffff:a.b.c.d), so one
 * table serves both families. Ports are in network order if the name ends in _be, else in host
 * order.
 */
#pragma once

#include <linux/types.h>

/* Constants for both sides; an enum, so that they are in BTF. */
enum kmesh_constant {
	/* Pinned maps are shared only by programs with the same versions. Shapes are compared
	 * separately; these are bumped when a meaning changes without a shape. The first is for
	 * state passed between programs (dials, connections), the second for
	 * state of connections: an upgrade that keeps the first is seamless. */
	KMESH_HANDSHAKE_VERSION = 3,
	KMESH_LAYOUT_VERSION = 4,
	/* Places of `frontends` that a key may use. With half of the table in use one key in
	 * 2^32 finds them all taken. */
	KMESH_FRONTEND_PROBES = 32,
	KMESH_HASH_KEYS = 7,
	KMESH_POD_WAYS = 4,
	KMESH_POD_BUCKETS = 4096, /* fits 8,192 pods, with room for uneven buckets */
	KMESH_LIVE_BLOCK = 16,
};

/* client_namespace of the keys of the ports of CIDR services: namespace ids are assigned
 * from 1 upwards and never reach this. */
#define KMESH_NAMESPACE_SERVICE 0xffffffffu

union kmesh_address {
	__u8 bytes[16];
	__u32 words[4];
	__u64 halves[2];
};

/* One enrolled pod. */
struct kmesh_pod {
	__u32 workload; /* id of the pod's own workload, 0 while unknown */
	__u32 namespace_id;
	__u32 flags;	/* enum kmesh_pod_flag */
	__u32 identity; /* id of the pod's identity */
};

/*
 * pods (mmap-able array): network-namespace cookie -> pod. A cookie has one bucket, `cookie %
 * buckets`; the four cookies of a bucket share a cache line, so rejecting a socket of another
 * namespace costs one array access and no hashing. Written only by the daemon: the pod first,
 * its cookie last by one 64-bit store; absent means "not enrolled".
 */
struct kmesh_pod_bucket {
	__u64 cookies[KMESH_POD_WAYS]; /* 0: free; no namespace has that cookie */
	struct kmesh_pod pods[KMESH_POD_WAYS];
};

enum kmesh_pod_flag {
	/* The CNI agent enrolled the pod, so istio-cni's redirect rules should be in its namespace,
	 * and with them the kernel path's exemption: the table inet kmesh and
	 * the program at the interface. */
	KMESH_POD_CAPTURED = 1 << 0,
	/* The daemon did not find those rules: connections that cannot be handed over must not
	 * leave.
	 */
	KMESH_POD_BARE = 1 << 1,
};

/*
 * frontends: the meaning of an address and port for a client namespace.
 *
 * Looked up first with client_namespace 0 (the general view). If KMESH_FRONTEND_SCOPED is set
 * there are other views: the client's own namespace is then looked up, and without
 * an entry there the general one applies. Port 0 is the entry of the address itself: a workload
 * (any port), or a service whose undeclared ports are refused. Ports of CIDR services have no
 * address: their key is the service id in words[3] under client_namespace
 * KMESH_NAMESPACE_SERVICE.
 */
struct kmesh_frontend_key {
	union kmesh_address address;
	__u64 place; /* KMESH_FRONTEND_PLACE */
};

/* The rest of a key in one word: client namespace, a bit that no free entry has, port. */
#define KMESH_FRONTEND_PLACE(client_namespace, port_be)                                            \
	((__u64)(client_namespace) << 32 | 1u << 16 | (__u16)(port_be))

enum kmesh_frontend_action {
	KMESH_FRONTEND_TUNNEL = 0,   /* undecided by the tables: the tunnel path decides */
	KMESH_FRONTEND_BALANCE = 1,  /* choose an endpoint of the range */
	KMESH_FRONTEND_WORKLOAD = 2, /* a workload's address: keep it */
	KMESH_FRONTEND_REFUSE = 3,   /* known to the mesh, but without an endpoint */
	KMESH_FRONTEND_VERDICT = 5,  /* the address is that of HBONE workload `target` of this node:
					keep it where the verdict is allow, else tunnel */
	KMESH_FRONTEND_OUTSIDE = 4,  /* leave alone: passthrough service or unknown address */
};

enum kmesh_frontend_flag {
	KMESH_FRONTEND_SCOPED = 1 << 0,
	KMESH_FRONTEND_PORTS =
	    1 << 1, /* CIDR entries: the ports of `service` have separate entries */
};

/* One 64-bit word: changed by one store. */
union kmesh_decision {
	struct {
		__u16 action;  /* enum kmesh_frontend_action */
		__u16 flags;   /* enum kmesh_frontend_flag */
		__u32 service; /* service id, for telemetry; 0 when there is none */
	};
	__u64 word;
};

/*
 * frontends (mmap-able array of a power of two of entries): an open-addressed hash table, one cache
 * line per entry with everything that a connect needs. Written by the daemon only, read without
 * locks; the rules are in frontends.h.
 *
 * A key's home is entry `hash & mask`; the key is in entry `home + n * (n + 1) / 2` for some n
 * below KMESH_FRONTEND_PROBES, and bit n of the home's `held` means that a key with this home is
 * there.
 * (`held` belongs to the entry as a home, the other fields to the key that is in it.)
 */
struct kmesh_frontend {
	union kmesh_address address;
	__u64 place; /* as in the key; 0: free. Stored last */
	union kmesh_decision decision;
	/* Endpoint ranges of a balanced service port, one for each family of the
	 * client's socket address: count in the upper half, base in the lower, flipped together by
	 * one 64-bit store. A zero range has no endpoint. */
	__u64 range4;
	__u64 range6;
	__u32 target; /* workload id of a verdict; never changes while the entry is live */
	__u32 held;
	__u64 reserved; /* to the end of the cache line */
};

/* cidr_frontends: longest-prefix match; looked up only if the exact address is unknown. */
struct kmesh_cidr_key {
	__u32 prefix_length; /* 32 bits of client_namespace + the address prefix */
	__u32 client_namespace;
	union kmesh_address address;
};

/* An endpoint to dial. */
struct kmesh_endpoint {
	__u32 workload;
	__u16 port_be; /* target port; 0: the slot was never written */
	__u16 flags;   /* enum kmesh_endpoint_flag */
};

struct kmesh_choice4 {
	struct kmesh_endpoint endpoint;
	__u32 address;
};

struct kmesh_choice6 {
	struct kmesh_endpoint endpoint;
	union kmesh_address address;
};

/* A slot of an alias table (Vose): the two endpoints that it may select, so that a weighted choice
 * costs one random number and one cache line, regardless of the number of endpoints. */
struct kmesh_slot4 {
	struct kmesh_choice4 choices[2];
	__u32 threshold; /* the second is selected if the rest of the draw is above */
	__u32 reserved;
};

struct kmesh_slot6 {
	struct kmesh_choice6 choices[2];
	__u32 threshold;
	__u32 reserved[3];
};

/* endpoints (mmap-able array): a range of a frontend's `range4` counts IPv4 slots; its
 * `range6` counts IPv6 slots from the same base, two places each. */
union kmesh_slots {
	struct kmesh_slot4 v4[2];
	struct kmesh_slot6 v6;
};

enum kmesh_endpoint_flag {
	KMESH_ENDPOINT_TUNNEL =
	    1 << 0, /* HBONE, another network, needs a waypoint: not for the kernel path */
	KMESH_ENDPOINT_VERDICT = 1 << 1, /* HBONE on this node: only if the verdict is allow */
};

/* settings (mmap-able array of one): switches that the daemon may change at runtime. */
struct kmesh_settings {
	__u32 cidr_frontends; /* entries in cidr_frontends; 0 skips the hook's two lookups */
	__u32 incomplete; /* not 0: something did not fit, so an unknown address may be the mesh's:
			     tunnel */
	__u32 events;	  /* enum kmesh_events: what is reported */
	__u32 reserved;
	__u64 hash_keys[KMESH_HASH_KEYS]; /* of `frontends`, for the writer of the table; programs
					     have them as constants */
};

/* Contents of the ring. A short connection is reported once, when it ends; the daemon finds
 * a long one in `live`. */
enum kmesh_events {
	KMESH_EVENTS_ENDS = 0, /* failed, closed and refused connections */
	KMESH_EVENTS_NONE = 1,
	KMESH_EVENTS_ALL = 2, /* also openings */
};

/* The path of a connection. */
enum kmesh_path {
	KMESH_PATH_OUTSIDE = 0,
	KMESH_PATH_KERNEL = 1,
	KMESH_PATH_TUNNEL = 2,
	KMESH_PATH_REFUSED = 3,
};

/* The reason: the index of `counters`. Each reason belongs to one path, the word after
 * KMESH_REASON. */
enum kmesh_reason {
	KMESH_REASON_KERNEL_BALANCED = 0, /* an endpoint was chosen */
	KMESH_REASON_KERNEL_WORKLOAD,	  /* a workload's own address was dialled */
	KMESH_REASON_OUTSIDE_UNKNOWN,	  /* the mesh does not know the address */
	KMESH_REASON_OUTSIDE_PASSTHROUGH, /* left alone according to the tables */
	KMESH_REASON_OUTSIDE_LOOPBACK,	  /* the pod dials itself */
	KMESH_REASON_OUTSIDE_PROXY,	  /* the proxy's own socket inside the pod */
	KMESH_REASON_TUNNEL_FRONTEND,	  /* the tables cannot decide for this address */
	KMESH_REASON_TUNNEL_ENDPOINT,	  /* the drawn endpoint is not for the kernel path */
	KMESH_REASON_TUNNEL_SLOT,	  /* an empty slot: unexpected, not bypassed */
	KMESH_REASON_TUNNEL_INCOMPLETE,	  /* unknown address while the tables are incomplete */
	KMESH_REASON_TUNNEL_FLOW,	  /* no memory to remember the dialled address */
	KMESH_REASON_TUNNEL_VERDICT,	  /* the verdict is not known to be allow */
	KMESH_REASON_TUNNEL_DNS,	  /* port 53 of a captured pod: the DNS proxy's */
	KMESH_REASON_TUNNEL_MARK,	  /* the socket has another mark, or cannot get ours */
	KMESH_REASON_TUNNEL_UNREACHABLE,  /* the node's network blocks the port */
	KMESH_REASON_TUNNEL_PORT,      /* the socket's own port is in use towards that endpoint */
	KMESH_REASON_TUNNEL_OWN,       /* the pod is the endpoint of the service that it dials */
	KMESH_REASON_REFUSED_FRONTEND, /* no usable endpoint of the address and port */
	KMESH_REASON_REFUSED_EMPTY,    /* a service port without endpoints */
	KMESH_REASON_REFUSED_BARE,     /* for the tunnel path, and nothing brings it there */
	KMESH_REASON_COUNT,
};

/*
 * flows (socket storage): the decision and progress of one socket. It is freed with the
 * socket, so it cannot leak.
 */
struct kmesh_flow {
	union kmesh_address dialled;
	__u64 netns_cookie;
	__u64
	    started_ns; /* bpf_ktime_get_ns when the handshake began (active) or ended (passive) */
	__u32 service;
	__u32 workload; /* the chosen endpoint (outbound) or the pod itself (inbound); 0 when
			   unknown */
	__u16 dialled_port_be;
	__u8 path;	     /* enum kmesh_path */
	__u8 rewritten;	     /* the socket's peer is not the dialled address */
	__u8 stage;	     /* enum kmesh_flow_stage */
	__u8 direction;	     /* enum kmesh_direction */
	__u8 attested;	     /* opened by the wire: the peer's identity is certain */
	__u8 tcp_state;	     /* set once a FIN was sent or has arrived */
	__u32 peer_identity; /* id of the attested client of an inbound flow; else 0 */
	__u32 place;	     /* in `live`, from 1; 0: none */
	__u32 ended;	     /* set for the order that an atomic operation gives */
	__u32 reserved2;
};

/* A place of `live`. */
struct kmesh_live {
	__u64 socket; /* the socket's address in the kernel; 0: free */
	__u64 flow;   /* the address of its flow */
	__u64 cookie; /* the socket's cookie */
	__u32 uses;   /* grows with each use, so that a reader detects reuse */
	__u32 next;   /* while it is free: the next free place, from 1; 0: none */
};

/* live (array): the established flows that are reported, so that they are found without walking
 * the sockets of the node. Values are blocks, because a program is called per value. */
struct kmesh_live_block {
	struct kmesh_live places[KMESH_LIVE_BLOCK];
};

/* live_places (array of one): which places of `live` are free. */
struct kmesh_live_places {
	__u64 free; /* lower half: the first free place, from 1; upper half: change counter */
	__u32 used; /* places that were ever in use */
	__u32 reserved;
};

/* Request to, and answer of, the program that reads live flows. */
struct kmesh_live_request {
	__u32 from;  /* first block of `live` to read */
	__u32 next;  /* block to continue with; 0: done */
	__u32 count; /* records in `live_flows` */
	__u32 reserved;
};

/*
 * counted (hash by socket cookie): bytes of an open connection in the metrics of a daemon, seen
 * from its socket. Used only by daemons: the next one continues from there.
 */
struct kmesh_counted {
	__u64 sent;
	__u64 received;
	__u32 generation; /* of the daemon that counted */
	__u32 reserved;
};

/* pod_addresses: an address of an enrolled pod of this node. */
struct kmesh_owner {
	__u64 netns_cookie;
	__u32 workload;	 /* id of the pod's workload */
	__u32 identity;	 /* 0: not certain, without a valid certificate */
	__u32 interface; /* node side of the pod's interface; 0: no wire */
	__u16 flags;	 /* enum kmesh_owner_flag */
	__u8 mac[6];	 /* of the pod's side */
};

enum kmesh_owner_flag {
	/* Packets may be delivered directly by the wire: no other software has a program at the
	 * hook.
	 */
	KMESH_OWNER_DELIVERED = 1 << 0,
};

/* connections: one between two enrolled pods of this node, the same key from both ends. */
struct kmesh_connection_key {
	union kmesh_address low;
	union kmesh_address high;
	__u16 low_port_be;
	__u16 high_port_be;
	__u32 reserved; /* 0: part of the key */
};

/* The last judgement of a connection, and its hash. Written by one store: a reader never confuses
 * the connection with another one that reuses its memory. */
union kmesh_stamp {
	struct {
		__u32 generation; /* generation of the verdicts of the judgement */
		__u32 tuple;	  /* hash of its key */
	};
	__u64 word;
};

/* A connection whose SYN the wire admitted. */
struct kmesh_connection {
	union kmesh_stamp stamp;
	__u32 sequence; /* of the SYN, in network order */
	__u32 client_interface;
	__u32 server_interface;
	__u32 client_identity;
	__u8 client_is_high;
	__u8 answered;	/* the server has answered */
	__u8 delivered; /* later packets go directly into the other pod */
	__u8 reserved;
	__u8 client_mac[6];
	__u8 server_mac[6];
};

/* lease (mmap-able array of one): how long the programs may decide, and the current generation. */
struct kmesh_lease {
	__u64 until_ns;	  /* of CLOCK_MONOTONIC; 0: not at all */
	__u32 generation; /* of verdicts, identities and addresses: grows after something was taken
			     out */
	__u32 node;	  /* hash of the node's name: whose programs these are */
	__u64 checked;	  /* by the programs: until_ns ^ jiffies of when it had not run out */
};

/* unreachable: ports whose SYNs went unanswered. Times are in units of 2^30 ns. */
struct kmesh_unreachable {
	__u32 until;
	__u32 times; /* in a row */
};

/* Index of `wire_counts`. */
enum kmesh_wire_count {
	KMESH_WIRE_OPENED = 0,	/* connections admitted by the wire */
	KMESH_WIRE_REFUSED,	/* packets of denied connections */
	KMESH_WIRE_UNREACHABLE, /* ports marked as unreachable for a while */
	KMESH_WIRE_COUNT,
};

/* One end of a connection: its local and remote address and port. */
struct kmesh_peer_key {
	union kmesh_address local;
	union kmesh_address remote;
	__u16 local_port_be;
	__u16 remote_port_be;
	__u32 reserved; /* 0: part of the key */
};

/* dials (array): the decision of a connect, until sockops takes it over. Slot: hash of the socket's
 * address. */
struct kmesh_dial {
	__u64 socket; /* the socket's address in the kernel; 0: free */
	union kmesh_address dialled;
	__u64 written_jiffies;
	__u32 service;
	__u32 workload;
	__u16 dialled_port_be;
	__u8 path;	/* enum kmesh_path */
	__u8 rewritten; /* an endpoint replaced the dialled address */
	__u32 reserved; /* with reserved2, to the end of the cache line */
	__u64 draws;	/* random state of draw_for */
	__u64 reserved2;
};

/* Identities that no pod has. */
#define KMESH_IDENTITY_ANY 0
#define KMESH_IDENTITY_NONE 0xffffffffu
/* Not an identity: an entry with it and port 0 means that the verdicts for the workload are being
 * rewritten. A missing permission may be about to appear. */
#define KMESH_IDENTITY_CHANGING 0xfffffffeu

/*
 * verdicts: whether a connection to a workload of this node may stay in the kernel. Looked up in
 * this order: (workload, any identity, port 0), meaning that no policy applies; (workload,
 * identity, port); (workload, identity, port 0), for ports that no policy names. Absent means ask.
 */
struct kmesh_verdict_key {
	__u32 workload;
	__u32 identity; /* KMESH_IDENTITY_NONE: peer without an attested identity */
	__u16 port_be;
	__u16 reserved;
};

enum kmesh_verdict {
	KMESH_VERDICT_ASK = 0, /* the tunnel path decides, which may deny */
	KMESH_VERDICT_ALLOW = 1,
};

enum kmesh_flow_stage {
	KMESH_FLOW_DIALLED = 0,	    /* decided in connect, no packet yet */
	KMESH_FLOW_CONNECTING = 1,  /* SYN sent, telemetry armed */
	KMESH_FLOW_ESTABLISHED = 2, /* reported as opened */
	KMESH_FLOW_REPORTED = 3,    /* reported as failed or closed */
};

enum kmesh_direction {
	KMESH_DIRECTION_OUTBOUND = 0,
	KMESH_DIRECTION_INBOUND = 1,
};

enum kmesh_event_kind {
	KMESH_EVENT_OPENED = 1,
	KMESH_EVENT_FAILED = 2, /* never established */
	KMESH_EVENT_CLOSED = 3,
	KMESH_EVENT_REFUSED = 4,     /* by the connect hook, without a handshake */
	KMESH_EVENT_UNREACHABLE = 5, /* the node's network blocks a workload's port */
};

/* Why a connection failed or ended, as far as the kernel reveals it. */
enum kmesh_close_reason {
	KMESH_CLOSE_NORMAL = 0,	 /* closed by either side */
	KMESH_CLOSE_REFUSED = 1, /* a reset answered the SYN */
	KMESH_CLOSE_TIMEOUT = 2,
	KMESH_CLOSE_RESET = 3,
	KMESH_CLOSE_UNREACHABLE = 4,
	KMESH_CLOSE_ABORTED = 5, /* the application gave up before the handshake ended */
	KMESH_CLOSE_OTHER = 6,
	KMESH_CLOSE_DENIED = 7, /* ended by a change of policy or certainty */
};

/* events (ring buffer): one record per failed, closed and refused connection, and per opened one
 * if enabled. Every field is written. */
struct kmesh_event {
	__u64 time_ns; /* bpf_ktime_get_ns, the clock of CLOCK_MONOTONIC */
	__u64 netns_cookie;
	__u64 socket_cookie;  /* 0 on an end if the socket never had one: no earlier
				 record refers to it */
	__u64 duration_ns;    /* from the start of the handshake */
	__u64 bytes_sent;     /* acknowledged by the peer, without SYN and FIN */
	__u64 bytes_received; /* without SYN and FIN */
	union kmesh_address local;
	union kmesh_address
	    remote; /* the chosen endpoint, or the client of an inbound connection */
	union kmesh_address dialled; /* destination dialled by the application */
	__u32 service;
	__u32 workload;
	__u32 srtt_us; /* smoothed, in microseconds */
	__u32 min_rtt_us;
	__u32 retransmissions;
	__u16 local_port_be;
	__u16 remote_port_be;
	__u16 dialled_port_be;
	__u8 kind;	   /* enum kmesh_event_kind */
	__u8 direction;	   /* enum kmesh_direction */
	__u8 path;	   /* enum kmesh_path */
	__u8 close_reason; /* enum kmesh_close_reason; of a refusal: enum kmesh_reason */
	__u16 reserved;
	__u32 peer_identity; /* see kmesh_flow */
	__u32 attested;
};

/* refusal_budgets (array): reported refusals of a pod in the current interval. */
struct kmesh_refusal_budget {
	__u64 span;
	__u64 reported;
};

/* handoff_pods: own addresses of a pod whose proxy listens on 15001, by the cookie of its
 * network namespace. Zero: no address of that family. Written by the daemon only. */
struct kmesh_handoff_pod {
	union kmesh_address address4;
	union kmesh_address address6;
};

/* handoffs: connections handed to the pod's proxy, keyed by the proxy's view of the peer. */
struct kmesh_handoff_key {
	__u64 netns_cookie;
	union kmesh_address client;
	__u16 client_port_be;
	__u16 reserved;	 /* 0: part of the key */
	__u32 reserved2; /* 0: part of the key */
};

/* picks: endpoints chosen by connect for the tunnel path, keyed by the proxy's view of the
 * client. */
struct kmesh_pick {
	__u32 workload;
	__u32 reserved;
};

/* The original destination of that client. */
struct kmesh_handoff {
	union kmesh_address dialled;
	__u16 dialled_port_be;
	__u16 reserved;
	__u32 reserved2;
};
