/*
 * Plans: decisions of TypeScript that the engine applies itself to similar connections until
 * TypeScript withdraws them (docs/threads.md). A plan's inputs have a version. It is
 * checked when the plan is applied, under the lock under which TypeScript
 * withdraws plans: TypeScript then knows every connection admitted before, and none is admitted
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
	/* TypeScript's number of the plan, and the version of its inputs. */
	uint64_t number = 0, version = 0;
	/* For accepted sockets: the session, its maximum number of streams, and the fields
	 * of the request before and after the client's port. */
	uint64_t session = 0;
	uint32_t streams = 0;
	std::string before, after;
	/* For requests: where to connect, and the responses. */
	ConnectSpec spec;
	std::string responseFields;
	int failStatus = 0;
};

/* A connection that a plan admitted. */
struct Admitted {
	uint64_t flow = 0, plan = 0;
	uint16_t clientPort = 0;
	uint64_t atUs = 0;
	/* When it ended; 0: it is open. */
	uint64_t endedUs = 0;
	/* Other events of it follow. */
	bool announced = false;
	uint64_t bytesUp = 0, bytesDown = 0;
};

class Plans
{
      public:
	/* Engine thread. */
	/* Drops a plan with an outdated version or an empty key. */
	void put(std::string &&key, Plan &&plan);
	std::shared_ptr<const Plan> find(const std::string &key) const;
	/* Returns whether the plan is still valid; if so, TypeScript will learn of the connection.
	 */
	bool admit(const Plan &plan, const Admitted &admitted);
	/* Lets TypeScript take the connections that have ended, that were admitted before
	 * `beforeUs`, or that have other events; the others are still likely to end before they are
	 * reported.
	 */
	void release(uint64_t beforeUs);
	bool anyReleased();
	/* Whether some are left for a later release. */
	bool anyAdmitted();
	/* Call it before an event of the flow other than its orderly end: its beginning is to be
	 * reported before. */
	void announce(uint64_t flow);
	/* Records an orderly end. Returns false if TypeScript already knows the connection; else
	 * its end is reported with its beginning. */
	bool ended(uint64_t flow, uint64_t nowUs, uint64_t bytesUp, uint64_t bytesDown);
	/* So many that TypeScript must be woken at once. */
	bool manyAdmitted();

	/* TypeScript's thread. Returns released connections that were not taken yet. */
	std::vector<Admitted> take();
	/* Returns all that were not taken yet. No plan of an earlier version admits anything from
	 * now on. */
	std::vector<Admitted> takeBack(uint64_t version);

      private:
	/* Maximum number of connections unknown to TypeScript; beyond it TypeScript decides. */
	static constexpr size_t kUnknown = 256;
	static constexpr size_t kPlans = 4096;

	std::mutex mutex_;
	uint64_t version_ = 0;
	std::vector<Admitted> admitted_;
	std::vector<Admitted> released_;
	/* All of one version. */
	std::unordered_map<std::string, std::shared_ptr<const Plan>> plans_;
	uint64_t plansVersion_ = 0;
};

/* Returns the key of accepted sockets that one plan serves: everything but the client's port. */
std::string planKey(uint64_t listener, const sockaddr_storage &peer,
		    const sockaddr_storage &original, uint32_t pick);
/* Returns the key of requests that one plan serves: everything but the port in `forwarded`. Empty
 * if none may serve it. */
std::string planKey(uint64_t session, const RequestHeaders &headers);

/* Returns a new `traceparent` per request: version 00, not sampled (ambient contract 6.2). */
std::string randomTraceparent();

} // namespace kmesh::tunnel
