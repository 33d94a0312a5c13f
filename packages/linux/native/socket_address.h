// Socket addresses between text and kernel form.
#pragma once

#include <napi.h>

#include <cstdint>
#include <netinet/in.h>
#include <string>

union SocketAddress {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

// The length of the address in kernel form, or 0 when the text is no address of the family.
socklen_t parse_address(int family, const std::string &text, uint16_t port, SocketAddress &into);

// {address, port, family}; an IPv4-mapped address comes out as IPv4.
Napi::Object describe_address(Napi::Env env, const SocketAddress &address);
