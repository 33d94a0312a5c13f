/* The order of TLS handshakes. */
#include "handshakes.h"

#include "engine.h"

namespace kmesh::tunnel
{

/* A turn of the loop has time for a few handshakes; other sockets wait no longer than that. */
static constexpr uint64_t kTurnUs = 1000;

void Handshakes::add(const HandshakeOwner &owner, uint64_t session)
{
	Pod &pod = pods_[owner.pod];
	if (pod.peers.empty())
		turns_.push_back(owner.pod);
	std::deque<uint64_t> &waiting = pod.sessions[owner.peer];
	if (waiting.empty())
		pod.peers.push_back(owner.peer);
	waiting.push_back(session);
}

uint64_t Handshakes::takeNext()
{
	uint64_t id = turns_.front();
	turns_.pop_front();
	auto pod = pods_.find(id);
	uint64_t peer = pod->second.peers.front();
	pod->second.peers.pop_front();
	auto waiting = pod->second.sessions.find(peer);
	uint64_t session = waiting->second.front();
	waiting->second.pop_front();
	if (waiting->second.empty())
		pod->second.sessions.erase(waiting);
	else
		pod->second.peers.push_back(peer);
	if (pod->second.peers.empty())
		pods_.erase(pod);
	else
		turns_.push_back(id);
	return session;
}

void Handshakes::run()
{
	if (!any())
		return;
	uint64_t began = Engine::preciseUs();
	do {
		/* It may have ended meanwhile. */
		if (Session *session = engine_.session(takeNext()))
			session->continueHandshake();
	} while (any() && Engine::preciseUs() - began < kTurnUs);
}

} // namespace kmesh::tunnel
