// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Clang emits BTF only for types that a map, a global or a function of the object uses. This
 * constant uses the others, so that TypeScript's view of them is generated like that of map values.
 * No program reads it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "kmesh_types.h"

struct kmesh_described_types {
	struct kmesh_pod pod;
	struct kmesh_event event;
	struct kmesh_live_request live_request;
	struct kmesh_frontend_key frontend_key;
	struct kmesh_owner owner;
	struct kmesh_pick pick;
	enum kmesh_owner_flag owner_flag;
	enum kmesh_wire_count wire_count;
	enum kmesh_verdict verdict;
	enum kmesh_pod_flag pod_flag;
	enum kmesh_frontend_action frontend_action;
	enum kmesh_frontend_flag frontend_flag;
	enum kmesh_endpoint_flag endpoint_flag;
	enum kmesh_events events;
	enum kmesh_path path;
	enum kmesh_reason reason;
	enum kmesh_flow_stage flow_stage;
	enum kmesh_direction direction;
	enum kmesh_event_kind event_kind;
	enum kmesh_close_reason close_reason;
	enum kmesh_constant constant;
};

const volatile struct kmesh_described_types kmesh_described_types __weak = {};
