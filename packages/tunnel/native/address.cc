/* Addresses and ports as the engine keeps them. */
#include <string.h>

#include "socket.h"

namespace kmesh::tunnel
{

bool parseAddress(const std::string &text, uint16_t port, SocketAddress *out)
{
	memset(&out->storage, 0, sizeof out->storage);
	if (text.find(':') == std::string::npos) {
		auto *v4 = reinterpret_cast<sockaddr_in *>(&out->storage);
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		out->length = sizeof *v4;
		return inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1;
	}
	auto *v6 = reinterpret_cast<sockaddr_in6 *>(&out->storage);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	out->length = sizeof *v6;
	return inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1;
}

/* IPv4-mapped IPv6 is formatted as IPv4, as everywhere in the mesh model. */
void formatAddress(const sockaddr_storage &from, std::string *address, uint16_t *port)
{
	char text[INET6_ADDRSTRLEN] = "";
	*port = 0;
	if (from.ss_family == AF_INET) {
		auto &v4 = reinterpret_cast<const sockaddr_in &>(from);
		inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
		*port = ntohs(v4.sin_port);
	} else if (from.ss_family == AF_INET6) {
		auto &v6 = reinterpret_cast<const sockaddr_in6 &>(from);
		*port = ntohs(v6.sin6_port);
		if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
			inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, text, sizeof text);
		} else {
			inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
		}
	}
	*address = text;
}

uint16_t readAddress(const sockaddr_storage &from, uint8_t *address)
{
	if (from.ss_family == AF_INET) {
		auto &v4 = reinterpret_cast<const sockaddr_in &>(from);
		memset(address, 0, 10);
		memset(address + 10, 0xff, 2);
		memcpy(address + 12, &v4.sin_addr, 4);
		return v4.sin_port;
	}
	auto &v6 = reinterpret_cast<const sockaddr_in6 &>(from);
	memcpy(address, &v6.sin6_addr, 16);
	return v6.sin6_port;
}

uint64_t endpointKey(const sockaddr_storage &from)
{
	const uint8_t *bytes;
	size_t length;
	uint64_t hash = 1469598103934665603ull;
	auto mix = [&hash](uint8_t byte) { hash = (hash ^ byte) * 1099511628211ull; };
	if (from.ss_family == AF_INET) {
		auto &v4 = reinterpret_cast<const sockaddr_in &>(from);
		bytes = reinterpret_cast<const uint8_t *>(&v4.sin_addr);
		length = 4;
		mix(static_cast<uint8_t>(v4.sin_port >> 8));
		mix(static_cast<uint8_t>(v4.sin_port));
	} else {
		auto &v6 = reinterpret_cast<const sockaddr_in6 &>(from);
		bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
		bytes = v6.sin6_addr.s6_addr + (mapped ? 12 : 0);
		length = mapped ? 4 : 16;
		mix(static_cast<uint8_t>(v6.sin6_port >> 8));
		mix(static_cast<uint8_t>(v6.sin6_port));
	}
	for (size_t at = 0; at < length; at++)
		mix(bytes[at]);
	return hash;
}

uint64_t addressKey(const sockaddr_storage &from)
{
	sockaddr_storage address = from;
	/* IPv4 and IPv6 have the port at the same offset. */
	reinterpret_cast<sockaddr_in &>(address).sin_port = 0;
	return endpointKey(address);
}

} // namespace kmesh::tunnel
