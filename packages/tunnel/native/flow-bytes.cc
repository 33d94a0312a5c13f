/* The bytes of one proxied connection: half-close kept, resets passed on (ambient contract 6.10).
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

namespace kmesh::tunnel
{

static constexpr size_t kTurn = 1 << 20;

void Flow::socketEvents(Socket &socket, uint32_t events)
{
	if (socket.fd < 0 || state == State::Closed)
		return;
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

/* The kernel tells of a reset once: to whoever asks next the socket has ended like any other. What
 * had arrived before is still passed on in this turn. */
void Flow::resetLater(int code)
{
	if (!resetting_)
		engine.later(this, CloseReason::Reset, code);
	resetting_ = true;
}

/* Writes what waits for a socket; false while some of it stays. */
bool Flow::flushPending(int direction)
{
	Direction &way = directions[direction];
	Socket &sink = sockets[1 - direction];
	size_t consumed = 0;
	if (way.pending.empty())
		return true;
	while (!way.pending.empty() && sink.writable) {
		ssize_t sent = send(sink.fd, way.pending.data(), way.pending.size(), MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN) {
				sink.writable = false;
				break;
			}
			resetLater(errno);
			sink.writable = false;
			break;
		}
		way.pending.consume(static_cast<size_t>(sent));
		consumed += static_cast<size_t>(sent);
	}
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
				resetLater(errno);
			return;
		}
		if (got == 0) {
			way.sourceEnded = !resetting_;
			source.readable = false;
			return;
		}
		size_t length = static_cast<size_t>(got);
		way.bytes += length;
		moved += length;
		if (length < Engine::kScratch && !source.peerEnded)
			source.readable = false;
		ssize_t sent = send(sink.fd, engine.cipherScratch, length, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno != EAGAIN && errno != EINTR) {
				resetLater(errno);
				source.readable = false;
				return;
			}
			sink.writable = errno == EINTR;
			sent = 0;
		}
		if (static_cast<size_t>(sent) < length) {
			way.pending.append(engine.cipherScratch + sent,
					   length - static_cast<size_t>(sent));
			flushPending(direction);
		}
	}
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
		if (way.sourceEnded && way.pending.empty() && !way.sinkEnded) {
			way.sinkEnded = true;
			/* When this was the last thing to do, closing says it too. */
			if (!directions[1 - direction].sinkEnded || streamSide >= 0)
				shutdown(sockets[1 - direction].fd, SHUT_WR);
		}
	}
	finishIfDone();
	if (state != State::Open)
		return;
	/* A reset is passed on even where back-pressure keeps us from reading up to it. */
	for (int side = 0; side < 2; side++) {
		Socket &socket = sockets[side];
		if (!socket.failed || socket.fd < 0)
			continue;
		bool reading =
		    streamSide == 1 - side ? streamDeferred : directions[side].pending.empty();
		if (directions[side].sourceEnded || !reading) {
			resetLater(ECONNRESET);
		} else if (streamSide == 1 - side) {
			if (streamSession != nullptr)
				streamSession->resume(this);
		}
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
				resetLater(errno);
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
				resetLater(errno);
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
			if (rest < 0 && errno != EAGAIN && errno != EINTR)
				resetLater(errno);
			if (rest != 0 || resetting_)
				return got;
			way.sourceEnded = way.sinkEnded = true;
			source.readable = false;
			*flags |= NGHTTP2_DATA_FLAG_EOF;
			engine.pumpLater(this);
			return got;
		}
		source.readable = false;
		if (resetting_) {
			streamDeferred = true;
			return NGHTTP2_ERR_DEFERRED;
		}
		way.sourceEnded = way.sinkEnded = true;
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		engine.pumpLater(this);
		return 0;
	}
}

} // namespace kmesh::tunnel
