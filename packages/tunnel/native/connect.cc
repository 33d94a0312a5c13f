/* Connecting inside a pod's namespace, with a suitable source address and port. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

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

/* Ports tried before the kernel chooses. */
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

/* There is no network in between that could be congested, and BBR's pacing costs a timer per burst.
 */
void Engine::prepareWithinPod(int fd)
{
	char algorithm[16] = {};
	socklen_t length = sizeof algorithm - 1;
	getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, &length);
	if (strncmp(algorithm, "bbr", 3) == 0)
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

/* Binds to a source address to keep, or, if it is empty, only to a port. */
static bool bindSource(int fd, int family, const SocketAddress &source, uint16_t port)
{
	bool keep = source.length != 0, v4 = family == AF_INET;
	int on = 1;
	SocketAddress from = source;
	if (!keep) {
		from.storage.ss_family = static_cast<sa_family_t>(family);
		from.length = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
		/* Otherwise the port would also be bound for IPv4. */
		if (!v4)
			setInt(fd, SOL_IPV6, IPV6_V6ONLY, 1);
	}
	/* Transparent implies free binding; without the capability, free binding may still work. */
	if (keep && setsockopt(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT,
			       &on, sizeof on) != 0)
		setInt(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_FREEBIND : IPV6_FREEBIND, 1);
	from.setPort(port);
	/* Either way one port serves many destinations, so one client cannot exhaust the pod's
	 * ports: reused if we choose it, else chosen by the kernel at connect. */
	if (port != 0)
		setInt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	else
		setInt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
	return bind(fd, reinterpret_cast<const sockaddr *>(&from.storage), from.length) == 0;
}

/*
 * A client's own connection and the proxy's onward one, both in the pod's namespace, differ only
 * in the source port. With equal ports conntrack would have one entry and take the
 * SYN of one for a packet of the other. So ports of connected clients are avoided, and
 * only one parity is used: connect() prefers the parity of the range's start for clients
 * while such ports are free. conntrack also keeps an unanswered SYN for two minutes: an
 * application that got the port of such an entry would bypass capture.
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
		/* With local source addresses the kernel prevents two clients with the same port.
		 */
		if (source.length == 0)
			return port;
		SocketAddress candidate = source;
		candidate.setPort(port);
		if (clients.find(endpointKey(candidate.storage)) == clients.end())
			return port;
	}
	return 0;
}

/* Returns the namespace's range of ephemeral ports, starting at the parity that connect() uses
 * last; both ends packed in one number. */
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
		if (spec.withinPod)
			prepareWithinPod(fd);
		/* If the port is in use for this destination, another is tried, finally the
		 * kernel's choice. */
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

} // namespace kmesh::tunnel
