/* Original destinations and chosen endpoints of connections that the connect hook sent to the
 * outbound port (bpf/handoff.h). */
#include <bpf/bpf.h>
#include <string.h>
#include <unistd.h>

#include "../../../bpf/kmesh_config.h"
#include "../../../bpf/kmesh_types.h"
#include "engine.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace kmesh::tunnel
{

uint64_t netnsCookieOf(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof cookie;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0)
		return 0;
	return cookie;
}

bool takeHandoff(int table, uint64_t netnsCookie, const sockaddr_storage &peer,
		 const sockaddr_storage &local, sockaddr_storage *original)
{
	kmesh_handoff_key key{};
	uint8_t own[16];
	uint16_t port = ntohs(readAddress(local, own));
	key.netns_cookie = netnsCookie;
	key.client_port_be = readAddress(peer, key.client.bytes);
	/* Handed-over connections go from the pod's address to the same address. */
	if (port != KMESH_PORT_OUTBOUND || memcmp(own, key.client.bytes, sizeof own) != 0)
		return false;
	kmesh_handoff value{};
	if (bpf_map_lookup_and_delete_elem(table, &key, &value) != 0)
		return false;
	memset(original, 0, sizeof *original);
	auto *to = reinterpret_cast<sockaddr_in6 *>(original);
	to->sin6_family = AF_INET6;
	to->sin6_port = value.dialled_port_be;
	memcpy(&to->sin6_addr, value.dialled.bytes, sizeof value.dialled.bytes);
	return true;
}

uint32_t takePick(int table, uint64_t netnsCookie, const sockaddr_storage &peer)
{
	kmesh_handoff_key key{};
	key.netns_cookie = netnsCookie;
	key.client_port_be = readAddress(peer, key.client.bytes);
	kmesh_pick value{};
	return bpf_map_lookup_and_delete_elem(table, &key, &value) == 0 ? value.workload : 0;
}

} // namespace kmesh::tunnel
