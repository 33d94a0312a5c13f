// Socket addresses between text and kernel form.
#include "socket_address.h"

#include <arpa/inet.h>
#include <cstring>
#include <net/if.h>

// Returns the length of the address in kernel form, or 0 if the text is not an address of the
// family.
socklen_t parse_address(int family, const std::string &text, uint16_t port, SocketAddress &into)
{
	memset(&into, 0, sizeof(into));
	if (family == AF_INET) {
		into.v4.sin_family = AF_INET;
		into.v4.sin_port = htons(port);
		return inet_pton(AF_INET, text.c_str(), &into.v4.sin_addr) == 1 ? sizeof(into.v4)
										: 0;
	}
	size_t percent = text.find('%');
	std::string address = text.substr(0, percent);
	into.v6.sin6_family = AF_INET6;
	into.v6.sin6_port = htons(port);
	if (percent != std::string::npos) {
		into.v6.sin6_scope_id = if_nametoindex(text.c_str() + percent + 1);
		if (into.v6.sin6_scope_id == 0)
			return 0;
	}
	return inet_pton(AF_INET6, address.c_str(), &into.v6.sin6_addr) == 1 ? sizeof(into.v6) : 0;
}

// Returns {address, port, family}. An IPv4-mapped address is reported as IPv4.
Napi::Object describe_address(Napi::Env env, const SocketAddress &address)
{
	char text[INET6_ADDRSTRLEN] = "";
	int family = 4;
	uint16_t port = 0;
	auto result = Napi::Object::New(env);

	if (address.any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof(text));
		port = ntohs(address.v4.sin_port);
	} else if (IN6_IS_ADDR_V4MAPPED(&address.v6.sin6_addr)) {
		inet_ntop(AF_INET, &address.v6.sin6_addr.s6_addr[12], text, sizeof(text));
		port = ntohs(address.v6.sin6_port);
	} else {
		inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof(text));
		port = ntohs(address.v6.sin6_port);
		family = 6;
	}
	result.Set("address", static_cast<const char *>(text));
	result.Set("port", port);
	result.Set("family", family);
	return result;
}
