/* The bytes of one proxied connection: preserves half-close and resets (ambient contract 6.10).
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "engine.h"

namespace kmesh::tunnel
{

static constexpr size_t kTurn = 512 << 10;
static constexpr size_t kReadWithoutRoom = 16 << 10;

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
	if (state == State::Requesting) {
		if (events & (EPOLLERR | EPOLLHUP))
			clientReset();
		return;
	}
	if ((events & EPOLLERR) && socket.error == 0) {
		int error = 0;
		socklen_t length = sizeof error;
		getsockopt(socket.fd, SOL_SOCKET, SO_ERROR, &error, &length);
		breakSocket(&socket == &sockets[1] ? 1 : 0, error != 0 ? error : ECONNRESET);
	}
	pump();
}

/* Counts bytes delivered to the sink of a direction. */
void Flow::passed(int direction, size_t length)
{
	Direction &way = directions[direction];
	size_t prefix = std::min(length, way.prefix);
	way.prefix -= prefix;
	way.bytes += length - prefix;
}

/* Writes pending bytes to a socket; returns false while some remain. */
bool Flow::flushPending(int direction)
{
	Direction &way = directions[direction];
	Socket &sink = sockets[1 - direction];
	size_t consumed = 0;
	if (way.pending.empty())
		return true;
	while (!way.pending.empty() && sink.writable) {
		ssize_t sent = way.pending.sendTo(sink.fd);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN) {
				sink.writable = false;
				break;
			}
			breakSocket(1 - direction, errno);
			break;
		}
		consumed += static_cast<size_t>(sent);
	}
	passed(direction, consumed);
	if (streamSide == direction && streamSession != nullptr && consumed > 0) {
		/* A PROXY header is not from the stream: never consume more than the stream sent.
		 */
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
		/* What the receiver does not take at once is held. */
		size_t room = engine.plainHeld->admits() ? Engine::kScratch : kReadWithoutRoom;
		ssize_t got = recv(source.fd, engine.cipherScratch, room, 0);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			source.readable = false;
			if (errno != EAGAIN) {
				source.error = errno;
				resetLater(errno);
			}
			return;
		}
		if (got == 0) {
			source.readable = false;
			if (source.error != 0)
				resetLater(source.error);
			else
				way.sourceEnded = true;
			return;
		}
		size_t length = static_cast<size_t>(got);
		moved += length;
		if (length < room && !source.peerEnded)
			source.readable = false;
		ssize_t sent = send(sink.fd, engine.cipherScratch, length, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno != EAGAIN && errno != EINTR) {
				breakSocket(1 - direction, errno);
				return;
			}
			sink.writable = errno == EINTR;
			sent = 0;
		}
		passed(direction, static_cast<size_t>(sent));
		if (static_cast<size_t>(sent) < length) {
			way.pending.append(engine.cipherScratch + sent,
					   length - static_cast<size_t>(sent));
			flushPending(direction);
		}
	}
}

void Flow::pump()
{
	if (state == State::Draining)
		drainStep();
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
			/* If this is the last action, closing has the same effect. */
			if (!directions[1 - direction].sinkEnded || streamSide >= 0)
				shutdown(sockets[1 - direction].fd, SHUT_WR);
		}
	}
	finishIfDone();
	if (state != State::Open)
		return;
	/* A broken socket that had ended before needs no wait. */
	for (int side = 0; side < 2; side++) {
		if (sockets[side].error != 0 && directions[side].sourceEnded)
			resetLater(sockets[side].error);
	}
}

void Flow::streamResponse(int status, const std::string &baggage, bool end)
{
	if (state != State::Requesting)
		return;
	if (status != 200) {
		fail(FlowEnd::HttpStatus, status);
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
	streamSpoke_ = true;
	if (state == State::Closed || sink.error != 0) {
		if (streamSession != nullptr)
			streamSession->consumed(this, length);
		return;
	}
	if (state != State::Open) {
		/* Sent before our 200: buffered, and bounded by the stream's window, which is not
		 * reopened yet. */
		way.pending.append(bytes, length);
		return;
	}
	auto &chunks = engine.chunks;
	if (chunks.flow != this || chunks.count == std::size(chunks.parts)) {
		engine.sendChunks();
		if (!way.pending.empty() || !sink.writable) {
			way.pending.append(bytes, length);
			return;
		}
	}
	chunks.flow = this;
	chunks.parts[chunks.count++] = {const_cast<uint8_t *>(bytes), length};
}

/* HTTP/2 frames and TLS records end anywhere in an application's data: sends all chunks with one
 * call, since each call passes through the network stack. */
void Engine::sendChunks()
{
	Flow *flow = chunks.flow;
	size_t count = chunks.count;
	chunks.flow = nullptr;
	chunks.count = 0;
	if (flow != nullptr)
		flow->sendChunks(chunks.parts, count);
}

void Flow::sendChunks(iovec *parts, size_t count)
{
	Direction &way = directions[streamSide];
	Socket &sink = sockets[1 - streamSide];
	size_t consumed = 0;
	while (count > 0 && state != State::Closed && sink.error == 0 && sink.writable &&
	       way.pending.empty()) {
		msghdr message{};
		message.msg_iov = parts;
		message.msg_iovlen = count;
		ssize_t sent = sendmsg(sink.fd, &message, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno == EAGAIN)
				sink.writable = false;
			else if (errno != EINTR)
				breakSocket(1 - streamSide, errno);
			continue;
		}
		size_t left = static_cast<size_t>(sent);
		consumed += left;
		while (count > 0 && left >= parts->iov_len) {
			left -= parts->iov_len;
			parts++;
			count--;
		}
		if (count > 0)
			*parts = {static_cast<uint8_t *>(parts->iov_base) + left,
				  parts->iov_len - left};
	}
	passed(streamSide, consumed);
	bool lost = state == State::Closed || sink.error != 0;
	for (; count > 0; parts++, count--) {
		if (lost)
			consumed += parts->iov_len;
		else
			way.pending.append(static_cast<const uint8_t *>(parts->iov_base),
					   parts->iov_len);
	}
	if (streamSession != nullptr)
		streamSession->consumed(this, consumed);
}

void Flow::streamEnd()
{
	engine.sendChunks();
	directions[streamSide].sourceEnded = true;
	if (state == State::Open)
		pump();
}

ssize_t Flow::streamPull(uint8_t *into, size_t length, uint32_t *flags)
{
	int side = 1 - streamSide;
	Socket &source = sockets[side];
	Direction &way = directions[side];
	auto defer = [this]() -> ssize_t {
		streamDeferred = true;
		return NGHTTP2_ERR_DEFERRED;
	};
	if (state != State::Open || !source.readable || resetting_)
		return defer();
	ssize_t got;
	do
		got = recv(source.fd, into, length, 0);
	while (got < 0 && errno == EINTR);
	if (got < 0) {
		source.readable = false;
		if (errno != EAGAIN) {
			source.error = errno;
			resetLater(errno);
		} else if (leaving_) {
			way.sourceEnded = way.sinkEnded = true;
			*flags |= NGHTTP2_DATA_FLAG_EOF;
			return 0;
		}
		return defer();
	}
	if (got > 0) {
		passed(side, static_cast<size_t>(got));
		if (static_cast<size_t>(got) == length)
			return got;
		if (!source.peerEnded) {
			source.readable = false;
			return got;
		}
		/* The peer has ended: read at once, so that END_STREAM is on the last frame. */
		uint8_t probe;
		ssize_t rest = recv(source.fd, &probe, 1, MSG_PEEK);
		if (rest < 0 && errno != EAGAIN && errno != EINTR) {
			source.error = errno;
			resetLater(errno);
		}
		if (rest != 0)
			return got;
	}
	source.readable = false;
	if (source.error != 0) {
		resetLater(source.error);
		return got > 0 ? got : defer();
	}
	way.sourceEnded = way.sinkEnded = true;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	engine.pumpLater(this);
	return got;
}

} // namespace kmesh::tunnel
