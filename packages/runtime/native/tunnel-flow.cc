/* One proxied connection: bytes between two ends, half-close kept, resets passed on (ambient
 * contract 6.10). */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../bpf/passthrough/join_types.h"
#include "tunnel-engine.h"
#include "tunnel-join.h"

namespace kmesh::tunnel
{

static constexpr size_t kTurn = 1 << 20;

static void closeSocket(Engine &engine, Flow::Socket &socket, bool reset)
{
	if (socket.fd < 0)
		return;
	if (reset) {
		linger now{1, 0};
		setsockopt(socket.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	}
	engine.unwatch(socket.fd);
	::close(socket.fd);
	socket.fd = -1;
}

std::atomic<int> Flow::undecided{0};
std::atomic<int> Flow::highestDescriptor{0};

Flow::Flow(Engine &owner, uint64_t number) : engine(owner), id(number)
{
	undecided++;
	sockets[0].flow = this;
	sockets[1].flow = this;
}

Flow::~Flow()
{
	decided();
	for (Socket &socket : sockets) {
		if (socket.fd >= 0)
			::close(socket.fd);
	}
}

void Flow::decided()
{
	if (undecided_)
		undecided--;
	undecided_ = false;
}

void Flow::adoptNear(int fd)
{
	/* Not watched before a decision: nothing is read, and nothing is spent on an undecided
	 * connection. */
	sockets[0].fd = fd;
}

void Flow::connect(const ConnectSpec &spec, const std::string &prefix, std::string fields,
		   int failStatus)
{
	if (state != State::Pending)
		return;
	responseFields_ = std::move(fields);
	failStatus_ = failStatus;
	directions[0].pending.append(reinterpret_cast<const uint8_t *>(prefix.data()),
				     prefix.size());
	int error = 0;
	bool kept = true;
	int fd = engine.openSocket(spec, &error, &kept);
	decided();
	if (!kept)
		engine.emit(EventType::SourceNotKept, id);
	if (fd < 0) {
		bool setup =
		    error == EMFILE || error == ENFILE || error == ENONET || error == EPERM;
		fail(setup ? CloseReason::SetupFailed : CloseReason::ConnectFailed, error);
		return;
	}
	state = State::Connecting;
	sockets[1].fd = fd;
	engine.schedule(spec.timeoutMs, id, kTimerConnect);
	engine.watch(fd, &sockets[1], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	if (!spec.keepalive)
		askConnected(spec);
}

/* An application in the same namespace has mostly answered before connect() returned, and asking
 * again is cheaper than another turn of the loop. */
void Flow::askConnected(const ConnectSpec &spec)
{
	auto *target = reinterpret_cast<const sockaddr *>(&spec.target.storage);
	if (::connect(sockets[1].fd, target, spec.target.length) != 0) {
		if (errno != EALREADY && errno != EINPROGRESS && errno != EINTR)
			fail(CloseReason::ConnectFailed, errno);
		return;
	}
	sockets[1].writable = true;
	finishConnect(false);
}

void Flow::connectTimedOut()
{
	if (state == State::Connecting)
		fail(CloseReason::ConnectTimeout, ETIMEDOUT);
}

void Flow::finishConnect(bool failed)
{
	int error = 0;
	socklen_t length = sizeof error;
	if (failed)
		getsockopt(sockets[1].fd, SOL_SOCKET, SO_ERROR, &error, &length);
	if (error != 0) {
		fail(error == ETIMEDOUT ? CloseReason::ConnectTimeout : CloseReason::ConnectFailed,
		     error);
		return;
	}
	if (streamSide == 0)
		respond(200, responseFields_, false);
	responseFields_.clear();
	open();
}

void Flow::open()
{
	state = State::Open;
	if (sockets[0].fd >= 0) {
		engine.watch(sockets[0].fd, &sockets[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
		/* It was accepted a while ago: most clients have said something. */
		sockets[0].readable = sockets[0].writable = true;
	}
	pump();
}

void Flow::request(Session *session, std::string_view fields, bool reportOpen)
{
	if (state != State::Pending)
		return;
	reportOpen_ = reportOpen;
	streamSide = 1;
	if (session == nullptr || !session->acceptsStreams() ||
	    session->submitRequest(this, fields) < 0) {
		streamSide = -1;
		/* Still pending: nothing was read or sent, so another connection can be tried. */
		engine.emit(EventType::FlowClosed, id, {static_cast<int>(CloseReason::Retry)});
		return;
	}
	state = State::Requesting;
	decided();
}

void Flow::respond(int status, std::string_view fields, bool end)
{
	if (streamSession == nullptr)
		return;
	std::string code = std::to_string(status);
	nghttp2_nv list[kMaximumFields];
	list[0] = fieldOf(":status", code);
	size_t count = 1 + readFields(fields, list + 1, kMaximumFields - 1);
	nghttp2_data_provider2 provider;
	provider.source.ptr = static_cast<StreamUser *>(this);
	provider.read_callback = [](nghttp2_session *, int32_t, uint8_t *into, size_t length,
				    uint32_t *flags, nghttp2_data_source *source,
				    void *) -> ssize_t {
		return static_cast<StreamUser *>(source->ptr)->streamPull(into, length, flags);
	};
	nghttp2_submit_response2(streamSession->http, streamId, list, count,
				 end ? nullptr : &provider);
	streamSession->markDirty();
}

void Flow::abort()
{
	fail(CloseReason::Aborted, 0);
}

/* Refuses an undecided connection: a request gets `status`, an accepted socket a reset. */
void Flow::reject(int status)
{
	if (state != State::Pending)
		return;
	failStatus_ = status;
	fail(CloseReason::Aborted, status);
}

void Flow::fail(CloseReason reason, int code, const std::string &text)
{
	if (state == State::Closed)
		return;
	bool answered = state == State::Open;
	if (streamSide == 0 && streamSession != nullptr && !answered && failStatus_ != 0) {
		respond(failStatus_, {}, true);
		streamSession->leaveStream(this);
	}
	close(reason, code, text, true);
}

void Flow::close(CloseReason reason, int code, const std::string &text, bool reset)
{
	if (state == State::Closed)
		return;
	state = State::Closed;
	if (streamSession != nullptr) {
		streamSession->resetStream(
		    this, reason == CloseReason::Aborted ? NGHTTP2_CANCEL : NGHTTP2_CONNECT_ERROR);
	}
	for (Socket &socket : sockets)
		closeSocket(engine, socket, reset);
	uint64_t moved[2] = {bytesOf(0), bytesOf(1)};
	if (joined != nullptr)
		engine.joins->leave(*this);
	auto client = engine.clients.find(clientKey);
	if (clientKey != 0 && client != engine.clients.end() && --client->second == 0)
		engine.clients.erase(client);
	engine.events.add(EventType::FlowClosed, id,
			  {static_cast<double>(reason), static_cast<double>(code),
			   static_cast<double>(moved[0]), static_cast<double>(moved[1])});
	if (!text.empty())
		engine.events.addText(std::string(text));
	engine.announce(true);
	engine.bury(this);
}

void Flow::socketEvents(Socket &socket, uint32_t events)
{
	if (socket.fd < 0 || state == State::Closed)
		return;
	if (joined != nullptr && joined->asleep) {
		/* Of an earlier interest, unless something ended. */
		if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0)
			return;
		engine.joins->wake(*this);
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		socket.readable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		socket.peerEnded = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		socket.writable = true;
	if (events & EPOLLERR)
		socket.failed = true;
	if (state == State::Connecting) {
		if (&socket == &sockets[1] && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			finishConnect((events & (EPOLLERR | EPOLLHUP)) != 0);
		return;
	}
	if (state == State::Open)
		pump();
}

/* Writes what waits for a socket; false while some of it stays. */
bool Flow::flushPending(int direction)
{
	Direction &way = directions[direction];
	Socket &sink = sockets[1 - direction];
	size_t consumed = 0;
	if (way.pending.empty())
		return true;
	if (!maySend(direction))
		return false;
	while (!way.pending.empty() && sink.writable) {
		ssize_t sent = send(sink.fd, way.pending.data(), way.pending.size(), MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN) {
				sink.writable = false;
				break;
			}
			engine.later(this, CloseReason::Reset, errno);
			sink.writable = false;
			break;
		}
		way.pending.consume(static_cast<size_t>(sent));
		consumed += static_cast<size_t>(sent);
	}
	if (joined != nullptr)
		joined->sent[direction] += consumed;
	if (streamSide == direction && streamSession != nullptr && consumed > 0) {
		/* A PROXY header in front is not the stream's: never consume more than it sent. */
		size_t credit = consumed < streamUnconsumed ? consumed : streamUnconsumed;
		streamSession->consumed(this, credit);
	}
	return way.pending.empty();
}

void Flow::pumpSockets(int direction)
{
	Direction &way = directions[direction];
	Socket &source = sockets[direction];
	Socket &sink = sockets[1 - direction];
	size_t moved = 0;
	while (source.readable && way.pending.empty() && sink.writable) {
		if (moved >= kTurn) {
			engine.pumpLater(this);
			return;
		}
		ssize_t got = recv(source.fd, engine.cipherScratch, Engine::kScratch, 0);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			source.readable = false;
			if (errno != EAGAIN)
				engine.later(this, CloseReason::Reset, errno);
			return;
		}
		if (got == 0) {
			way.sourceEnded = true;
			source.readable = false;
			return;
		}
		size_t length = static_cast<size_t>(got);
		way.bytes += length;
		moved += length;
		if (length < Engine::kScratch && !source.peerEnded)
			source.readable = false;
		countTurn(direction, length);
		if (!maySend(direction)) {
			way.pending.append(engine.cipherScratch, length);
			return;
		}
		ssize_t sent = send(sink.fd, engine.cipherScratch, length, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno != EAGAIN && errno != EINTR) {
				engine.later(this, CloseReason::Reset, errno);
				source.readable = false;
				return;
			}
			sink.writable = errno == EINTR;
			sent = 0;
		}
		if (joined != nullptr)
			joined->sent[direction] += static_cast<uint64_t>(sent);
		if (static_cast<size_t>(sent) < length) {
			way.pending.append(engine.cipherScratch + sent,
					   length - static_cast<size_t>(sent));
			flushPending(direction);
		}
	}
}

/* Redirected bytes go first. */
bool Flow::maySend(int direction)
{
	return joined == nullptr || engine.joins->settled(*this, direction);
}

void Flow::countTurn(int direction, size_t length)
{
	if (joined != nullptr) {
		joined->received[direction] += length;
	} else if (length > KMESH_JOIN_SEGMENT_BYTES) {
		turns_ = 0;
	} else if (lastDirection_ != direction) {
		lastDirection_ = direction;
		turns_++;
	}
}

/* The engine must hold none of the flow's bytes and both ends must be open. */
void Flow::join()
{
	if (engine.joins == nullptr || streamSide >= 0)
		return;
	for (int side = 0; side < 2; side++) {
		const Socket &socket = sockets[side];
		if (socket.readable || !socket.writable || socket.peerEnded || socket.failed ||
		    !directions[side].pending.empty() || directions[side].sourceEnded)
			return;
	}
	turns_ = 0;
	if (!engine.joins->enter(*this))
		return;
	sockets[0].readable = sockets[1].readable = true;
	pump();
	if (state == State::Open)
		engine.joins->sleep(*this);
}

uint64_t Flow::bytesOf(int direction) const
{
	return directions[direction].bytes +
	       (joined == nullptr ? 0 : engine.joins->redirected(*this, direction));
}

void Flow::pump()
{
	if (state != State::Open)
		return;
	for (int direction = 0; direction < 2; direction++) {
		Direction &way = directions[direction];
		bool fromStream = streamSide == direction;
		bool toStream = streamSide == 1 - direction;
		if (toStream) {
			if (sockets[direction].readable && streamSession != nullptr &&
			    streamDeferred && !way.sourceEnded) {
				streamSession->resume(this);
			}
			continue;
		}
		bool clear = flushPending(direction);
		if (!fromStream && clear && !way.sourceEnded)
			pumpSockets(direction);
		if (way.sourceEnded && way.pending.empty() && !way.sinkEnded &&
		    maySend(direction)) {
			way.sinkEnded = true;
			/* When this was the last thing to do, closing says it too. */
			if (!directions[1 - direction].sinkEnded || streamSide >= 0)
				shutdown(sockets[1 - direction].fd, SHUT_WR);
		}
	}
	finishIfDone();
	if (state != State::Open)
		return;
	if (turns_ >= engine.config.joinTurns && joined == nullptr)
		join();
	/* A reset is passed on even where back-pressure keeps us from reading up to it. */
	for (int side = 0; side < 2; side++) {
		Socket &socket = sockets[side];
		if (!socket.failed || socket.fd < 0)
			continue;
		bool reading =
		    streamSide == 1 - side ? streamDeferred : directions[side].pending.empty();
		if (directions[side].sourceEnded || !reading) {
			engine.later(this, CloseReason::Reset, ECONNRESET);
		} else if (streamSide == 1 - side) {
			if (streamSession != nullptr)
				streamSession->resume(this);
		}
	}
}

void Flow::finishIfDone()
{
	if (state != State::Open)
		return;
	bool streamFinished = streamSide < 0 || streamDone_ || streamSession == nullptr;
	if (directions[0].sinkEnded && directions[1].sinkEnded && streamFinished) {
		close(CloseReason::Complete, 0, {}, false);
	}
}

void Flow::streamResponse(int status, const std::string &baggage, bool end)
{
	if (state != State::Requesting)
		return;
	if (status != 200) {
		fail(CloseReason::HttpStatus, status);
		return;
	}
	if (reportOpen_) {
		engine.emit(EventType::FlowOpened, id);
		engine.events.addText(std::string(baggage));
	}
	if (end)
		directions[1].sourceEnded = true;
	open();
}

void Flow::streamData(const uint8_t *bytes, size_t length)
{
	Direction &way = directions[streamSide];
	Socket &sink = sockets[1 - streamSide];
	if (state != State::Open) {
		/* Sent before our 200: kept, and bounded by the stream's window, which is not given
		 * back yet. */
		if (state == State::Closed) {
			if (streamSession != nullptr)
				streamSession->consumed(this, length);
			return;
		}
		way.bytes += length;
		way.pending.append(bytes, length);
		return;
	}
	way.bytes += length;
	size_t written = 0;
	if (way.pending.empty() && sink.writable) {
		while (written < length) {
			ssize_t sent =
			    send(sink.fd, bytes + written, length - written, MSG_NOSIGNAL);
			if (sent > 0) {
				written += static_cast<size_t>(sent);
			} else if (errno == EAGAIN) {
				sink.writable = false;
				break;
			} else if (errno != EINTR) {
				engine.later(this, CloseReason::Reset, errno);
				sink.writable = false;
				break;
			}
		}
		if (streamSession != nullptr)
			streamSession->consumed(this, written);
	}
	if (written < length)
		way.pending.append(bytes + written, length - written);
}

void Flow::streamEnd()
{
	directions[streamSide].sourceEnded = true;
	if (state == State::Open)
		pump();
}

void Flow::streamClosed(uint32_t code, bool sessionLost)
{
	streamDone_ = true;
	if (state == State::Closed)
		return;
	if (state == State::Requesting) {
		if (code == NGHTTP2_REFUSED_STREAM && !sessionLost) {
			state = State::Pending;
			streamSide = -1;
			streamDone_ = false;
			directions[0].sourceEnded = directions[0].sinkEnded = false;
			engine.emit(EventType::FlowClosed, id,
				    {static_cast<int>(CloseReason::Retry)});
			return;
		}
		fail(sessionLost ? CloseReason::SessionLost : CloseReason::Reset,
		     static_cast<int>(code));
		return;
	}
	bool clean = !sessionLost && code == NGHTTP2_NO_ERROR &&
		     directions[streamSide].sourceEnded && directions[1 - streamSide].sinkEnded;
	if (!clean) {
		fail(sessionLost ? CloseReason::SessionLost : CloseReason::Reset,
		     static_cast<int>(code));
		return;
	}
	if (state == State::Open)
		pump();
}

ssize_t Flow::streamPull(uint8_t *into, size_t length, uint32_t *flags)
{
	int side = 1 - streamSide;
	Socket &source = sockets[side];
	Direction &way = directions[side];
	if (state != State::Open || !source.readable) {
		streamDeferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	for (;;) {
		ssize_t got = recv(source.fd, into, length, 0);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			source.readable = false;
			streamDeferred = true;
			if (errno != EAGAIN)
				engine.later(this, CloseReason::Reset, errno);
			return NGHTTP2_ERR_DEFERRED;
		}
		if (got > 0) {
			way.bytes += static_cast<size_t>(got);
			if (static_cast<size_t>(got) == length)
				return got;
			if (!source.peerEnded) {
				source.readable = false;
				return got;
			}
			/* The peer has ended: ask at once, so that the end rides on the last frame.
			 */
			uint8_t probe;
			ssize_t rest = recv(source.fd, &probe, 1, MSG_PEEK);
			if (rest != 0)
				return got;
			way.sourceEnded = way.sinkEnded = true;
			source.readable = false;
			*flags |= NGHTTP2_DATA_FLAG_EOF;
			engine.pumpLater(this);
			return got;
		}
		way.sourceEnded = way.sinkEnded = true;
		source.readable = false;
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		engine.pumpLater(this);
		return 0;
	}
}

} // namespace kmesh::tunnel
