/* Socket primitives: addresses, epoll interface, listeners. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

#include <string>

namespace kmesh::tunnel
{

class Engine;
class Flow;

struct SocketAddress {
	sockaddr_storage storage{};
	socklen_t length = 0;
	int family() const
	{
		return storage.ss_family;
	}
	/* IPv4 and IPv6 have the port at the same offset. */
	void setPort(uint16_t port)
	{
		reinterpret_cast<sockaddr_in &>(storage).sin_port = htons(port);
	}
};

bool parseAddress(const std::string &text, uint16_t port, SocketAddress *out);
/* Returns one number for an address and a port; IPv4-mapped IPv6 equals IPv4. */
uint64_t endpointKey(const sockaddr_storage &from);
/* Likewise for an address without its port. */
uint64_t addressKey(const sockaddr_storage &from);
/* Reads an address, IPv4 as IPv4-mapped IPv6; returns the port in network order. */
uint16_t readAddress(const sockaddr_storage &from, uint8_t *address);
void formatAddress(const sockaddr_storage &from, std::string *address, uint16_t *port);

/* An object registered with epoll. */
class Pollable
{
      public:
	virtual ~Pollable() = default;
	virtual void onEvents(uint32_t events) = 0;
};

/* Options of an outgoing socket. */
struct ConnectSpec {
	uint64_t namespaceId = 0;
	SocketAddress target;
	SocketAddress source; /* length 0: any address of the pod */
	bool sourceRequired = false;
	bool keepalive = true; /* not towards the pod's own application */
	bool withinPod = false;
	uint32_t timeoutMs = 10000;
};

struct Listener final : public Pollable {
	Engine *engine = nullptr;
	uint64_t id = 0;
	int fd = -1;
	bool tunnel = false;   /* accepted sockets speak HBONE */
	bool outbound = false; /* accepted sockets are outbound */
	bool paused = false;
	uint64_t netnsCookie = 0; /* set if connections may be handed over or have a pick */
	void onEvents(uint32_t events) override;
	void acceptAll();
	bool follow(Flow &flow, const sockaddr_storage &peer);
	void forgetTransparent();
	void pause(int error);
	void resume();
};

/* handoff.cc */
uint64_t netnsCookieOf(int fd);
/* Returns the original destination of a connection that the connect hook handed over, once. */
bool takeHandoff(int table, uint64_t netnsCookie, const sockaddr_storage &peer,
		 const sockaddr_storage &local, sockaddr_storage *original);
/* Returns the endpoint that the connect hook chose for a connection, 0 if none; once. */
uint32_t takePick(int table, uint64_t netnsCookie, const sockaddr_storage &peer);

} // namespace kmesh::tunnel
