/* Accepting, with the original destination. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine.h"

#ifndef IP6T_SO_ORIGINAL_DST
#define IP6T_SO_ORIGINAL_DST 80
#endif

namespace kmesh::tunnel
{

static bool originalDestination(int fd, sockaddr_storage *out)
{
	socklen_t length = sizeof *out;
	if (getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, out, &length) == 0)
		return true;
	length = sizeof *out;
	return getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, out, &length) == 0;
}

/* IPv4 and IPv6 have the port at the same offset. */
static double portOf(const sockaddr_storage &address)
{
	return ntohs(reinterpret_cast<const sockaddr_in &>(address).sin_port);
}

/*
 * Two connections from one port of a client to two ports of the pod become one to the proxy's port,
 * so conntrack gives the second another source port on input. By then early demux has already found
 * a socket for its SYN, the first one's, and looks again only if that is not transparent: a socket
 * accepted by a transparent listener would swallow the second handshake for its lifetime.
 * Redirected traffic has a local destination, so only the option's permission matters, not the
 * option.
 */
void Listener::forgetTransparent()
{
	int off = 0;
	setsockopt(fd, SOL_IP, IP_TRANSPARENT, &off, sizeof off);
}

void Listener::onEvents(uint32_t)
{
	if (!paused)
		acceptAll();
}

/* Applies a plan to an accepted socket; false if TypeScript must decide. */
bool Listener::follow(Flow &flow, const sockaddr_storage &peer)
{
	std::shared_ptr<const Plan> plan = engine->plans.find(flow.planKey);
	if (plan == nullptr)
		return false;
	Session *session = engine->session(plan->session);
	if (session == nullptr || !session->acceptsStreams() ||
	    session->openStreams() >= plan->streams)
		return false;
	uint64_t now = Engine::preciseUs();
	uint16_t port = static_cast<uint16_t>(portOf(peer));
	if (!engine->plans.admit(*plan, {flow.id, plan->number, port, now}))
		return false;
	flow.admittedUs = now;
	engine->announceAdmitted();
	flow.request(session,
		     plan->before + std::to_string(port) + plan->after + randomTraceparent(),
		     false);
	return true;
}

void Listener::acceptAll()
{
	for (int budget = 0; budget < 32; budget++) {
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
		if (netnsCookie != 0 && engine->config.handoffTable >= 0) {
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
		uint32_t pick = 0;
		if (tunnel) {
			auto session = std::make_unique<Session>(*engine, number, true);
			session->handshakeOwner = {id, addressKey(peer)};
			session->adopt(accepted);
			engine->sessions.emplace(number, std::move(session));
		} else {
			auto flow = std::make_unique<Flow>(*engine, number);
			flow->adoptNear(accepted);
			flow->clientKey = endpointKey(peer);
			engine->clients[flow->clientKey]++;
			Flow &made = *flow;
			engine->flows.emplace(number, std::move(flow));
			if (outbound) {
				if (netnsCookie != 0 && engine->config.pickTable >= 0)
					pick =
					    takePick(engine->config.pickTable, netnsCookie, peer);
				made.planKey = planKey(id, peer, original, pick);
				if (follow(made, peer))
					continue;
			}
		}
		EventBatch &events = engine->events;
		int32_t known[3] = {engine->knownTexts.address(events, peer),
				    engine->knownTexts.address(events, local),
				    engine->knownTexts.address(events, original)};
		engine->emit(EventType::Accepted, number,
			     {static_cast<double>(id), portOf(peer), portOf(local),
			      portOf(original), static_cast<double>(pick)});
		for (int32_t reference : known)
			events.addKnown(reference);
	}
	engine->schedule(0, id, TimerKind::Listener);
}

/* Out of descriptors or memory: connections stay in the backlog; report it and retry soon. */
void Listener::pause(int error)
{
	engine->emit(EventType::AcceptFailed, id, {static_cast<double>(error)});
	if (!paused)
		engine->unwatch(fd);
	paused = true;
	engine->schedule(200, id, TimerKind::Listener);
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
