/* One proxied connection. */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "bytes.h"
#include "kinds.h"
#include "socket.h"
#include "stream.h"

namespace kmesh::tunnel
{

/* One proxied connection: a near end (accepted socket or served stream) and a far end (socket or
 * requested stream). */
class Flow final : public StreamUser
{
      public:
	/* Draining: one end is gone; its last bytes are being delivered to the other, a socket. */
	enum class State { Pending, Connecting, Requesting, Open, Draining, Closed };

	struct Socket final : public Pollable {
		Flow *flow = nullptr;
		int fd = -1;
		bool watched = false;
		bool readable = false, writable = false, peerEnded = false, failed = false;
		/* Error of the connection; 0: none. Data received before can still be read. */
		int error = 0;
		void onEvents(uint32_t events) override
		{
			flow->socketEvents(*this, events);
		}
	};
	struct Direction {
		ByteQueue pending;
		bool sourceEnded = false;
		bool sinkEnded = false;
		/* Bytes delivered to the sink. */
		uint64_t bytes = 0;
		/* Leading pending bytes that did not come from the source. */
		size_t prefix = 0;
	};

	Flow(Engine &engine, uint64_t id);
	~Flow() override;

	/* Key of an accepted socket in Engine::clients; 0: none. */
	uint64_t clientKey = 0;

	void adoptNear(int fd);
	/* Fields alternate names and values, separated by NUL. */
	void connect(const ConnectSpec &spec, const std::string &prefix, std::string responseFields,
		     int failStatus);
	void request(Session *session, std::string_view fields, bool reportOpen);
	void respond(int status, std::string_view fields, bool end);
	void abort();
	void leave();
	void reject(int status);
	/* Refuses a request of which TypeScript has not heard: the peer may send it elsewhere. */
	void refuse();
	void fail(FlowEnd reason, int code, const std::string &text = {});
	void connectTimedOut();
	void pump();
	/* Flow-specific timer: a reset that waits for the bytes before it, or the drain. */
	void timer();

	void streamResponse(int status, const std::string &baggage, bool end) override;
	void streamData(const uint8_t *bytes, size_t length) override;
	void streamEnd() override;
	void sendChunks(iovec *parts, size_t count);
	void streamClosed(uint32_t code, bool sessionLost) override;
	ssize_t streamPull(uint8_t *into, size_t length, uint32_t *flags) override;

	/* Flows of all engines that may still need a far socket. */
	static std::atomic<int> undecided;
	/* The highest descriptor that any of their sockets ever had. */
	static std::atomic<int> highestDescriptor;

	Engine &engine;
	const uint64_t id;
	State state = State::Pending;
	Socket sockets[2]; /* 0 near, 1 far; fd -1 where the end is the stream */
	int streamSide = -1;
	Direction directions[2]; /* 0 near to far, 1 far to near */
	std::unique_ptr<RequestHeaders> requestHeaders;
	bool queued = false;
	/* Key for a plan, until the flow is decided. */
	std::string planKey;
	/* When a plan admitted it, in microseconds; 0: decided by TypeScript. */
	uint64_t admittedUs = 0;

      private:
	void socketEvents(Socket &socket, uint32_t events);
	void watchNear();
	void clientReset();
	void askConnected(const ConnectSpec &spec);
	void finishConnect(bool failed);
	void open();
	bool flushPending(int direction);
	void pumpSockets(int direction);
	void resetLater(int code);
	void breakSocket(int side, int error);
	void passed(int direction, size_t length);
	void endWithStream(uint32_t code, bool sessionLost);
	void drain(int side, FlowEnd reason, int code, bool reset);
	void drainStep();
	bool discardInput(Socket &socket);
	void finishIfDone();
	void close(FlowEnd reason, int code, const std::string &text, bool reset);
	void announce();
	void report(FlowEnd reason, int code, const std::string &text);
	void decided();
	bool isThrough() const;

	bool undecided_ = true;
	/* The proxy is shutting down: received bytes are delivered, then the flow ends. */
	bool leaving_ = false;
	bool resetting_ = false;
	std::string responseFields_;
	int failStatus_ = 0;
	bool reportOpen_ = false;
	bool streamDone_ = false;
	/* The stream's peer has sent data. */
	bool streamSpoke_ = false;
	/* An event before the end was queued for TypeScript, so that the end needs one, too. */
	bool eventQueued_ = false;
	/* The end was reported to TypeScript. */
	bool reported_ = false;
	/* A socket was open then. */
	bool held_ = false;
	/* State of a drain. */
	struct Drain {
		int side;
		FlowEnd reason;
		int code;
		bool reset;
		/* Next check: there is no event for acknowledged bytes. */
		uint32_t lookMs = 2;
		bool looking = false;
		/* Unacknowledged bytes at the last check, and since when that is unchanged. */
		size_t waiting = SIZE_MAX;
		uint64_t waitingSince = 0;
		uint64_t since = 0;
	};
	std::unique_ptr<Drain> drain_;
	/* Delivered bytes when a reset began to wait for more; UINT64_MAX: none
	 * waits.
	 */
	uint64_t resetWaitsAt_ = UINT64_MAX;
};

/* Returns the number of bytes in a socket's receive queue. */
int unreadBytes(int fd);

} // namespace kmesh::tunnel
