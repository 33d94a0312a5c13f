/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Classes of addresses, without lookups. */
#pragma once

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>

#include "kmesh_types.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6

/* IPv4, natively or as an IPv4-mapped IPv6 address: both are equivalent here. */
static __always_inline bool is_mapped(const union kmesh_address *address)
{
	return address->halves[0] == 0 && address->words[2] == bpf_htonl(0xffff);
}

/* 127.0.0.0/8, ::1, and the unspecified addresses, which the kernel treats as loopback. */
static __always_inline bool is_loopback(const union kmesh_address *address)
{
	if (address->halves[0])
		return false;
	if (address->words[2] == bpf_htonl(0xffff))
		return address->bytes[12] == 127 || !address->words[3];
	return !address->words[2] && (address->words[3] == bpf_htonl(1) || !address->words[3]);
}
