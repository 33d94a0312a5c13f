// Socket addresses between text and kernel form.
#pragma once

#include <napi.h>

#include <cstdint>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>

union SocketAddress {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

// Returns the length of the address in kernel form, or 0 if the text is not an address of the
// family.
socklen_t parse_address(int family, const std::string &text, uint16_t port, SocketAddress &into);

// Returns {address, port, family}. An IPv4-mapped address is reported as IPv4.
Napi::Object describe_address(Napi::Env env, const SocketAddress &address);
