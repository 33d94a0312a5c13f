/* Sockets of the engine: addresses, accepting with the original destination, connecting inside a
 * pod's namespace. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tunnel-engine.h"

#ifndef IP6T_SO_ORIGINAL_DST
#define IP6T_SO_ORIGINAL_DST 80
#endif
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

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

/* IPv4-mapped IPv6 is written as IPv4, as everywhere in the mesh model. */
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

/* Ports tried before the choice is left to the kernel. */
static constexpr int kPortTries = 16;

static void setInt(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof value);
}

void Engine::prepareSocket(int fd)
{
	setInt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (!config.keepalive)
		return;
	setInt(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	setInt(fd, IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(config.keepaliveTimeS));
	setInt(fd, IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(config.keepaliveIntervalS));
	setInt(fd, IPPROTO_TCP, TCP_KEEPCNT, static_cast<int>(config.keepaliveRetries));
	if (config.userTimeoutMs != 0)
		setInt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(config.userTimeoutMs));
}

static uint64_t endpointKey(const sockaddr_storage &from)
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

/* Binds to an address to keep as the source, or if that is empty, to a port alone. */
static bool bindSource(int fd, int family, const SocketAddress &source, uint16_t port)
{
	bool keep = source.length != 0, v4 = family == AF_INET;
	int on = 1;
	SocketAddress from = source;
	if (!keep) {
		from.storage.ss_family = static_cast<sa_family_t>(family);
		from.length = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
		if (!v4)
			setInt(fd, SOL_IPV6, IPV6_V6ONLY, 1);
	}
	/* Transparent implies free binding; without the right to it, free binding may still do. */
	if (keep && setsockopt(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT,
			       &on, sizeof on) != 0)
		setInt(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_FREEBIND : IPV6_FREEBIND, 1);
	from.setPort(port);
	/* Either way one port serves many destinations, so one client cannot run the pod out of
	 * them: shared when it is ours to choose, else chosen by the kernel when connecting. */
	if (port != 0)
		setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	else
		setInt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	return bind(fd, reinterpret_cast<const sockaddr *>(&from.storage), from.length) == 0;
}

/*
 * A client's own connection and the proxy's onward one, both in the pod's namespace, differ in
 * nothing but the source port. Equal ports would be one entry for conntrack, which then takes the
 * SYN of one for a packet of the other. So ports of clients that are connected are avoided, and odd
 * ones are taken: connect() gives clients the parity of the range's start, which is even by
 * default, as long as it has any. conntrack also remembers for two minutes what nobody answered: an
 * application that is given the port of such an entry would get past capture.
 */
uint16_t Engine::choosePort(uint64_t namespaceId, const SocketAddress &source)
{
	uint32_t range = portRange(namespaceId);
	uint32_t low = range & 0xffff, count = ((range >> 16) - low) / 2;
	if (range == 0 || count < 64)
		return 0;
	for (int tries = 0; tries < 8; tries++) {
		random_ ^= random_ << 13;
		random_ ^= random_ >> 7;
		random_ ^= random_ << 17;
		uint16_t port = static_cast<uint16_t>(low + 2 * (random_ % count));
		/* From its own addresses the kernel lets no two clients have the same. */
		if (source.length == 0)
			return port;
		SocketAddress candidate = source;
		candidate.setPort(port);
		if (clients.find(endpointKey(candidate.storage)) == clients.end())
			return port;
	}
	return 0;
}

/* The namespace's range for chosen ports, moved to start at an odd one; both ends in one number. */
uint32_t Engine::portRange(uint64_t id)
{
	auto known = portRanges.find(id);
	if (known != portRanges.end())
		return known->second;
	unsigned low = 0, high = 0;
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	if (file != nullptr) {
		if (fscanf(file, "%u %u", &low, &high) != 2)
			low = 0;
		fclose(file);
	}
	if (low % 2 == 0)
		low++;
	uint32_t range = low > 1 && low + 1 < high ? high << 16 | low : 0;
	portRanges[id] = range;
	return range;
}

/* Starts a connection. Returns the descriptor (connect in progress or done), or -1 with *error set.
 */
int Engine::openSocket(const ConnectSpec &spec, int *error, bool *sourceKept)
{
	*sourceKept = true;
	if ((*error = enterNamespace(spec.namespaceId)) != 0)
		return -1;
	SocketAddress source = spec.source;
	for (int tries = 0;; tries++) {
		int fd =
		    socket(spec.target.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0) {
			*error = errno;
			return -1;
		}
		if (config.mark != 0 &&
		    setsockopt(fd, SOL_SOCKET, SO_MARK, &config.mark, sizeof config.mark) != 0) {
			*error = errno;
			close(fd);
			return -1;
		}
		if (spec.keepalive)
			prepareSocket(fd);
		else
			setInt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		/* A port that is taken for this destination: another, and in the end the kernel's
		 * choice. */
		uint16_t port = tries < kPortTries ? choosePort(spec.namespaceId, source) : 0;
		if ((source.length != 0 || port != 0) &&
		    !bindSource(fd, spec.target.family(), source, port)) {
			*error = errno;
			close(fd);
			if (port != 0)
				continue;
			*sourceKept = false;
			if (spec.sourceRequired)
				return -1;
			source = {};
			continue;
		}
		if (::connect(fd, reinterpret_cast<const sockaddr *>(&spec.target.storage),
			      spec.target.length) == 0 ||
		    errno == EINPROGRESS) {
			*error = 0;
			return fd;
		}
		*error = errno;
		close(fd);
		if (*error != EADDRNOTAVAIL)
			return -1;
		if (port != 0)
			continue;
		if (source.length == 0 || spec.sourceRequired)
			return -1;
		*sourceKept = false;
		source = {};
	}
}

static bool originalDestination(int fd, sockaddr_storage *out)
{
	socklen_t length = sizeof *out;
	if (getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, out, &length) == 0)
		return true;
	length = sizeof *out;
	return getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, out, &length) == 0;
}

/* IPv4 and IPv6 have it in the same place. */
static double portOf(const sockaddr_storage &address)
{
	return ntohs(reinterpret_cast<const sockaddr_in &>(address).sin_port);
}

/*
 * Two connections from one port of a client to two ports of the pod are one to the proxy's port, so
 * conntrack gives the second another source port as it enters. By then the kernel has already found
 * a socket for its SYN, the first one's, and looks again only where that is not transparent: what a
 * transparent listener accepts would swallow the other's handshake for as long as it lives. What is
 * redirected comes to a local address, so only the option's permission matters, not the option.
 */
void Listener::forgetTransparent()
{
	setInt(fd, SOL_IP, IP_TRANSPARENT, 0);
}

void Listener::onEvents(uint32_t)
{
	if (!paused)
		acceptAll();
}

void Listener::acceptAll()
{
	for (int budget = 0; budget < 128; budget++) {
		if (!engine->descriptorsLeft()) {
			pause(EMFILE);
			return;
		}
		sockaddr_storage peer{};
		socklen_t length = sizeof peer;
		int accepted = accept4(fd, reinterpret_cast<sockaddr *>(&peer), &length,
				       SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted < 0) {
			if (errno == EAGAIN)
				return;
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			pause(errno);
			return;
		}
		if (accepted > Flow::highestDescriptor)
			Flow::highestDescriptor = accepted;
		/* The listener's options are inherited; the local address of a redirected socket is
		 * the proxy's. */
		sockaddr_storage local{}, original{};
		bool handed = false;
		if (netnsCookie != 0) {
			length = sizeof local;
			getsockname(accepted, reinterpret_cast<sockaddr *>(&local), &length);
			handed = takeHandoff(engine->config.handoffTable, netnsCookie, peer, local,
					     &original);
		}
		if (handed || (!tunnel && originalDestination(accepted, &original))) {
			local = original;
		} else {
			length = sizeof local;
			getsockname(accepted, reinterpret_cast<sockaddr *>(&local), &length);
			original = local;
		}
		uint64_t number = engine->nextId();
		if (tunnel) {
			auto session = std::make_unique<Session>(*engine, number, true);
			session->adopt(accepted);
			engine->sessions.emplace(number, std::move(session));
		} else {
			auto flow = std::make_unique<Flow>(*engine, number);
			flow->adoptNear(accepted);
			flow->clientKey = endpointKey(peer);
			engine->clients[flow->clientKey]++;
			engine->flows.emplace(number, std::move(flow));
		}
		EventBatch &events = engine->events;
		int32_t known[3] = {engine->knownTexts.address(events, peer),
				    engine->knownTexts.address(events, local),
				    engine->knownTexts.address(events, original)};
		engine->emit(
		    EventType::Accepted, number,
		    {static_cast<double>(id), portOf(peer), portOf(local), portOf(original)});
		for (int32_t reference : known)
			events.addKnown(reference);
	}
	engine->schedule(0, id, kTimerListener);
}

/* Out of descriptors or memory: the queue keeps the connections; say so and look again soon. */
void Listener::pause(int error)
{
	engine->emit(EventType::AcceptFailed, id, {static_cast<double>(error)});
	if (!paused)
		engine->unwatch(fd);
	paused = true;
	engine->schedule(200, id, kTimerListener);
}

void Listener::resume()
{
	if (paused) {
		if (!engine->descriptorsLeft()) {
			pause(EMFILE);
			return;
		}
		paused = false;
		engine->watch(fd, this, EPOLLIN);
	}
	acceptAll();
}

} // namespace kmesh::tunnel
