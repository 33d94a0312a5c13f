/*
 * Plans: decisions of TypeScript that the engine follows by itself for whatever is alike, until
 * TypeScript takes them back (docs/threads.md). What a plan was made from has a version. Whether it
 * is still that one is looked at when the plan is followed, under the lock under which TypeScript
 * takes plans back: what was admitted before is known to it from then on, and nothing is
 * afterwards.
 */
#pragma once

#include <stdint.h>
#include <sys/socket.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "socket.h"

namespace kmesh::tunnel
{

struct RequestHeaders;

struct Plan {
	/* TypeScript's number for it, and the version of what it was made from. */
	uint64_t number = 0, version = 0;
	/* Of an accepted socket: the session to ask, how many streams that may have, and the fields
	 * of the request before and after the client's port. */
	uint64_t session = 0;
	uint32_t streams = 0;
	std::string before, after;
	/* Of a request: where to connect, and the answers. */
	ConnectSpec spec;
	std::string responseFields;
	int failStatus = 0;
};

/* A connection that the engine admitted by a plan. */
struct Admitted {
	uint64_t flow = 0, plan = 0;
	uint16_t clientPort = 0;
	uint64_t atUs = 0;
	/* When it ended, where it has; 0: it is open. */
	uint64_t endedUs = 0;
	uint64_t bytesUp = 0, bytesDown = 0;
};

class Plans
{
      public:
	/* Engine thread. */
	/* A plan whose version has passed, or whose key is empty, is dropped. */
	void put(std::string &&key, Plan &&plan);
	std::shared_ptr<const Plan> find(const std::string &key) const;
	/* Whether the plan still holds; the connection is TypeScript's to know from then on. */
	bool admit(const Plan &plan, const Admitted &admitted);
	bool anyAdmitted();
	/* A connection ended in order. False if TypeScript knows it already; else its end is
	 * reported with its beginning. */
	bool ended(uint64_t flow, uint64_t nowUs, uint64_t bytesUp, uint64_t bytesDown);
	/* So many that TypeScript is woken at once. */
	bool manyAdmitted();

	/* TypeScript's thread. What was admitted and not taken yet, in order. */
	std::vector<Admitted> take();
	/* The same, and no plan of an earlier version admits anything from now on. */
	std::vector<Admitted> takeBack(uint64_t version);

      private:
	/* Connections that TypeScript does not know yet: more are left to it. */
	static constexpr size_t kUnknown = 256;
	static constexpr size_t kPlans = 4096;

	std::mutex mutex_;
	uint64_t version_ = 0;
	std::vector<Admitted> admitted_;
	/* Of one version, all of them. */
	std::unordered_map<std::string, std::shared_ptr<const Plan>> plans_;
	uint64_t plansVersion_ = 0;
};

/* What accepted sockets have in common that a plan serves: everything but the client's port. */
std::string planKey(uint64_t listener, const sockaddr_storage &peer,
		    const sockaddr_storage &original, uint32_t pick);
/* What requests have in common that a plan serves: everything but the port in `forwarded`. Empty
 * where none may. */
std::string planKey(uint64_t session, const RequestHeaders &headers);

/* A `traceparent` of its own for each request: version 00, not sampled (ambient contract 6.2). */
std::string randomTraceparent();

} // namespace kmesh::tunnel
