/* One proxied connection. */
#pragma once

#include <stdint.h>

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "bytes.h"
#include "socket.h"
#include "stream.h"

namespace kmesh::tunnel
{

/* Numbers shared with packages/tunnel/src/engine/events.ts. */
enum class CloseReason : int {
	Complete = 0,
	ConnectFailed = 1,
	ConnectTimeout = 2,
	HttpStatus = 3,
	Retry = 4,
	Reset = 5,
	Aborted = 6,
	SessionLost = 7,
	SetupFailed = 8,
};

/* One proxied connection: a near end (accepted socket or served stream) and a far end (socket or
 * requested stream). */
class Flow final : public StreamUser
{
      public:
	enum class State { Pending, Connecting, Requesting, Open, Closed };

	struct Socket final : public Pollable {
		Flow *flow = nullptr;
		int fd = -1;
		bool readable = false, writable = false, peerEnded = false, failed = false;
		void onEvents(uint32_t events) override
		{
			flow->socketEvents(*this, events);
		}
	};
	struct Direction {
		ByteQueue pending;
		bool sourceEnded = false;
		bool sinkEnded = false;
		uint64_t bytes = 0;
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
	void reject(int status);
	void fail(CloseReason reason, int code, const std::string &text = {});
	void connectTimedOut();
	void pump();

	void streamResponse(int status, const std::string &baggage, bool end) override;
	void streamData(const uint8_t *bytes, size_t length) override;
	void streamEnd() override;
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

      private:
	void socketEvents(Socket &socket, uint32_t events);
	void askConnected(const ConnectSpec &spec);
	void finishConnect(bool failed);
	void open();
	bool flushPending(int direction);
	void pumpSockets(int direction);
	void resetLater(int code);
	void finishIfDone();
	void close(CloseReason reason, int code, const std::string &text, bool reset);
	void decided();

	bool undecided_ = true;
	bool resetting_ = false;
	std::string responseFields_;
	int failStatus_ = 0;
	bool reportOpen_ = false;
	bool streamDone_ = false;
};

} // namespace kmesh::tunnel
