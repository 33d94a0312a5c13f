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
	/* Draining: one end is gone; its last bytes are on their way to the other, a socket. */
	enum class State { Pending, Connecting, Requesting, Open, Draining, Closed };

	struct Socket final : public Pollable {
		Flow *flow = nullptr;
		int fd = -1;
		bool readable = false, writable = false, peerEnded = false, failed = false;
		/* What broke the connection; 0: nothing. What arrived before can still be read. */
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
		/* Bytes passed on to the sink. */
		uint64_t bytes = 0;
		/* Of what is pending, the bytes in front that the source did not send. */
		size_t prefix = 0;
	};

	Flow(Engine &engine, uint64_t id);
	~Flow() override;

	/* Of an accepted socket, in Engine::clients; 0: none. */
	uint64_t clientKey = 0;

	void adoptNear(int fd);
	/* Fields are names and values in turn, parted by NUL. */
	void connect(const ConnectSpec &spec, const std::string &prefix, std::string responseFields,
		     int failStatus);
	void request(Session *session, std::string_view fields, bool reportOpen);
	void respond(int status, std::string_view fields, bool end);
	void abort();
	void leave();
	void reject(int status);
	void fail(FlowEnd reason, int code, const std::string &text = {});
	void connectTimedOut();
	void pump();
	/* A timer of its own: a reset that waits for the bytes before it, or the drain. */
	void timer();

	void streamResponse(int status, const std::string &baggage, bool end) override;
	void streamData(const uint8_t *bytes, size_t length) override;
	void streamEnd() override;
	void sendChunks(iovec *parts, size_t count);
	void streamClosed(uint32_t code, bool sessionLost) override;
	ssize_t streamPull(uint8_t *into, size_t length, uint32_t *flags) override;

	/* Flows of all engines that may still ask for their far socket. */
	static std::atomic<int> undecided;
	/* The highest number that any of their sockets ever had. */
	static std::atomic<int> highestDescriptor;

	Engine &engine;
	const uint64_t id;
	State state = State::Pending;
	Socket sockets[2]; /* 0 near, 1 far; fd -1 where the end is the stream */
	int streamSide = -1;
	Direction directions[2]; /* 0 near to far, 1 far to near */
	std::unique_ptr<RequestHeaders> requestHeaders;
	bool queued = false;
	/* What a plan for its like is kept by, until it is decided. */
	std::string planKey;
	/* When a plan admitted it, in microseconds; 0: TypeScript did. */
	uint64_t admittedUs = 0;

      private:
	void socketEvents(Socket &socket, uint32_t events);
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
	void report(FlowEnd reason, int code, const std::string &text);
	void decided();
	bool isThrough() const;

	bool undecided_ = true;
	/* The proxy's time is over: what has come is passed on, and then the end. */
	bool leaving_ = false;
	bool resetting_ = false;
	std::string responseFields_;
	int failStatus_ = 0;
	bool reportOpen_ = false;
	bool streamDone_ = false;
	/* The stream's peer sent data. */
	bool streamSpoke_ = false;
	/* An event about it is on its way. */
	bool told_ = false;
	/* The end was reported to TypeScript. */
	bool reported_ = false;
	/* The plan of a drain. */
	struct Drain {
		int side;
		FlowEnd reason;
		int code;
		bool reset;
		/* When to look again: nothing reports that bytes were acknowledged. */
		uint32_t lookMs = 2;
		bool looking = false;
		/* What was on its way at the last look, and since when that has not changed. */
		size_t waiting = SIZE_MAX;
		uint64_t waitingSince = 0;
	};
	std::unique_ptr<Drain> drain_;
	/* Bytes that had been passed on when a reset began to wait for them; UINT64_MAX: none
	 * waits.
	 */
	uint64_t resetWaitsAt_ = UINT64_MAX;
};

} // namespace kmesh::tunnel
