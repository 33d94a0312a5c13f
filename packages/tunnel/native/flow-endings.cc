/*
 * Abnormal ends of a proxied connection (docs/endings.md). Two rules: bytes
 * received before an end are delivered before it, and an end is passed on in kind:
 * orderly (FIN, END_STREAM) or not (RST, RST_STREAM).
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "engine.h"

namespace kmesh::tunnel
{

/* How long a reset waits for unread bytes before it. */
static constexpr uint32_t kResetPatienceMs = 5000;
static constexpr uint32_t kLongestLookMs = 200;

/*
 * A peer that has sent everything may reset a stream that it no longer reads (RFC 9113, 8.1), so
 * NO_ERROR is an orderly end, and so is CANCEL in ztunnel. Envoy ends an HTTP connection that
 * it closes with CONNECT_ERROR and without END_STREAM. That is also how a proxy passes on a reset
 * (RFC 9113, 8.5), which is unambiguous only if no byte came before.
 */
static bool endsInOrder(uint32_t code, bool spoke)
{
	return code == NGHTTP2_NO_ERROR || code == NGHTTP2_CANCEL ||
	       (code == NGHTTP2_CONNECT_ERROR && spoke);
}

/* The kernel reports a reset once: afterwards the socket looks like any other ended one. Bytes
 * passed on in this turn are delivered first. */
void Flow::resetLater(int code)
{
	if (!resetting_)
		engine.later(this, FlowEnd::Reset, code);
	resetting_ = true;
}

/* The client is gone before the peer has answered, which may still want the bytes that it sent. */
void Flow::clientReset()
{
	sockets[0].error = ECONNRESET;
	engine.schedule(unreadBytes(sockets[0].fd) > 0 ? kResetPatienceMs : 0, id,
			TimerKind::FlowEnding);
}

/* A socket accepts no more data. Bytes that it had sent before are still passed on. */
void Flow::breakSocket(int side, int error)
{
	Socket &socket = sockets[side];
	Direction &way = directions[1 - side];
	if (socket.error == 0)
		socket.error = error;
	socket.writable = false;
	socket.readable = true;
	size_t lost = way.pending.size() - std::min(way.pending.size(), way.prefix);
	way.pending.reset();
	way.prefix = 0;
	if (streamSide == 1 - side && streamSession != nullptr && lost > 0)
		streamSession->consumed(this, std::min(lost, streamUnconsumed));
	if (resetWaitsAt_ == UINT64_MAX && state == State::Open) {
		resetWaitsAt_ = directions[side].bytes;
		engine.schedule(kResetPatienceMs, id, TimerKind::FlowEnding);
	}
	engine.pumpLater(this);
}

void Flow::timer()
{
	if (state == State::Draining) {
		drain_->looking = false;
		drainStep();
		return;
	}
	if (state == State::Requesting && sockets[0].error != 0) {
		fail(FlowEnd::Reset, sockets[0].error);
		return;
	}
	if (state != State::Open || resetWaitsAt_ == UINT64_MAX)
		return;
	int broken = sockets[0].error != 0 ? 0 : 1;
	if (directions[broken].bytes == resetWaitsAt_) {
		resetLater(sockets[broken].error);
		return;
	}
	resetWaitsAt_ = directions[broken].bytes;
	engine.schedule(kResetPatienceMs, id, TimerKind::FlowEnding);
}

void Flow::streamClosed(uint32_t code, bool sessionLost)
{
	engine.sendChunks();
	streamDone_ = true;
	switch (state) {
	case State::Closed:
	case State::Draining:
		return;
	case State::Requesting:
		/* Nothing was read from the application, so another session can be tried. */
		if (sessionLost || code == NGHTTP2_REFUSED_STREAM) {
			state = State::Pending;
			streamSide = -1;
			streamDone_ = false;
			directions[0].sourceEnded = directions[0].sinkEnded = false;
			engine.emit(EventType::FlowClosed, id, {static_cast<int>(FlowEnd::Retry)});
			return;
		}
		fail(FlowEnd::Unanswered, static_cast<int>(code));
		return;
	case State::Pending:
	case State::Connecting: {
		/* The client sent everything and left before the application was reached. */
		Direction &up = directions[0];
		if (up.sourceEnded || (streamSpoke_ && !sessionLost && endsInOrder(code, true))) {
			up.sourceEnded = directions[1].sinkEnded = true;
			return;
		}
		fail(sessionLost ? FlowEnd::SessionLost : FlowEnd::Reset, static_cast<int>(code));
		return;
	}
	case State::Open:
		endWithStream(code, sessionLost);
		return;
	}
}

void Flow::endWithStream(uint32_t code, bool sessionLost)
{
	Direction &from = directions[streamSide], &to = directions[1 - streamSide];
	bool inOrder = !sessionLost && endsInOrder(code, streamSpoke_);
	if (from.sourceEnded && to.sinkEnded && (sessionLost || code == NGHTTP2_NO_ERROR)) {
		drain(1 - streamSide, FlowEnd::Complete, 0, false);
		return;
	}
	bool reset = !from.sourceEnded && !inOrder;
	from.sourceEnded = true;
	to.sinkEnded = true;
	FlowEnd reason = inOrder       ? FlowEnd::Complete
			 : sessionLost ? FlowEnd::SessionLost
				       : FlowEnd::Reset;
	drain(1 - streamSide, reason, inOrder ? 0 : static_cast<int>(code), reset);
}

/* The other end is gone: delivers remaining bytes to the socket of `side`, then ends it, by FIN or,
 * once everything is acknowledged, by RST. */
void Flow::drain(int side, FlowEnd reason, int code, bool reset)
{
	state = State::Draining;
	drain_ = std::make_unique<Drain>(Drain{side, reason, code, reset});
	drain_->since = drain_->waitingSince = engine.nowMs();
	Socket &other = sockets[1 - side];
	if (other.fd >= 0) {
		engine.unwatch(other.fd);
		::close(other.fd);
		other.fd = -1;
	}
	drainStep();
}

/* Discards input; returns true when no more will come. */
bool Flow::discardInput(Socket &socket)
{
	if (!socket.readable)
		return false;
	Input left = kmesh::tunnel::discardInput(socket.fd);
	if (left == Input::More)
		engine.pumpLater(this);
	if (left == Input::NoneNow)
		socket.readable = false;
	return left == Input::Ended;
}

void Flow::drainStep()
{
	Drain &plan = *drain_;
	Socket &socket = sockets[plan.side];
	Direction &way = directions[1 - plan.side];
	bool flushed = flushPending(1 - plan.side);
	if (socket.error != 0) {
		close(plan.reason, plan.code, {}, false);
		return;
	}
	if (flushed) {
		if (!plan.reset && !way.sinkEnded) {
			way.sinkEnded = true;
			shutdown(socket.fd, SHUT_WR);
		}
		if (!plan.reset && (directions[plan.side].sourceEnded || discardInput(socket))) {
			close(plan.reason, plan.code, {}, false);
			return;
		}
	}
	uint64_t now = engine.nowMs();
	size_t waiting = way.pending.size() + unacknowledgedBytes(socket.fd);
	if (waiting != plan.waiting) {
		plan.waiting = waiting;
		plan.waitingSince = now;
	}
	uint64_t waited = now - plan.waitingSince;
	if (waiting == 0 && (plan.reset || waited >= kLingerMs)) {
		close(plan.reason, plan.code, {}, plan.reset);
		return;
	}
	if (waited >= engine.config.stallMs) {
		close(plan.reason, plan.code, {}, true);
		return;
	}
	/* One event, not three, if it closes at once. */
	if (flushed && now > plan.since)
		report(plan.reason, plan.code, {});
	if (plan.looking)
		return;
	plan.looking = true;
	engine.schedule(plan.lookMs, id, TimerKind::FlowEnding);
	plan.lookMs = std::min(plan.lookMs * 2, kLongestLookMs);
}

} // namespace kmesh::tunnel
