/* TLS handshakes, in turns: they cost a thousand times as much as other events of a loop, and
 * anyone who reaches a listener can begin any number of them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <deque>
#include <unordered_map>

namespace kmesh::tunnel
{

class Engine;

/* Who a handshake is for: the pods of a thread have equal shares of it, and so have the peers of
 * one pod. */
struct HandshakeOwner {
	uint64_t pod = 0;  /* id of the listener, or of the namespace for outgoing sessions */
	uint64_t peer = 0; /* one number for its address; 0 for outgoing sessions */
};

class Handshakes
{
      public:
	explicit Handshakes(Engine &engine) : engine_(engine)
	{
	}
	/* Continues the handshake of a session when its turn comes. */
	void add(const HandshakeOwner &owner, uint64_t session);
	/* Continues handshakes for a limited time, at least one. */
	void run();
	bool any() const
	{
		return !pods_.empty();
	}

      private:
	struct Pod {
		/* Sessions by peer, none of them empty. */
		std::unordered_map<uint64_t, std::deque<uint64_t>> sessions;
		std::deque<uint64_t> peers;
	};
	uint64_t takeNext();

	Engine &engine_;
	std::unordered_map<uint64_t, Pod> pods_;
	std::deque<uint64_t> turns_;
};

} // namespace kmesh::tunnel
