/* The life of one proxied connection: its two ends, failure and close (ambient
 * contract 6.10). */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "http2.h"

namespace kmesh::tunnel
{

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

int unreadBytes(int fd)
{
	int count = 0;
	return ioctl(fd, FIONREAD, &count) == 0 ? count : 0;
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
	planKey = {};
}

void Flow::watchNear()
{
	if (!sockets[0].watched)
		engine.watch(sockets[0].fd, &sockets[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	sockets[0].watched = true;
}

void Flow::adoptNear(int fd)
{
	/* Not watched before a decision: an undecided connection costs nothing. */
	sockets[0].fd = fd;
	for (Direction &way : directions)
		way.pending.countIn(engine.plainHeld);
}

void Flow::connect(const ConnectSpec &spec, const std::string &prefix, std::string fields,
		   int failStatus)
{
	if (state != State::Pending)
		return;
	responseFields_ = std::move(fields);
	failStatus_ = failStatus;
	/* Goes before early data. */
	Direction &up = directions[0];
	ByteQueue early;
	early.swap(up.pending);
	up.pending.append(reinterpret_cast<const uint8_t *>(prefix.data()), prefix.size());
	up.pending.append(early);
	up.prefix = prefix.size();
	int error = 0;
	bool kept = true;
	int fd = engine.openSocket(spec, &error, &kept);
	decided();
	if (!kept) {
		announce();
		engine.emit(EventType::SourceNotKept, id);
	}
	if (fd < 0) {
		bool setup =
		    error == EMFILE || error == ENFILE || error == ENONET || error == EPERM;
		fail(setup ? FlowEnd::SetupFailed : FlowEnd::ConnectFailed, error);
		return;
	}
	state = State::Connecting;
	sockets[1].fd = fd;
	engine.schedule(spec.timeoutMs, id, TimerKind::FlowConnect);
	engine.watch(fd, &sockets[1], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	if (!spec.keepalive)
		askConnected(spec);
}

/* An application in the same namespace has usually answered before connect() returned, and checking
 * is cheaper than another turn of the loop. */
void Flow::askConnected(const ConnectSpec &spec)
{
	auto *target = reinterpret_cast<const sockaddr *>(&spec.target.storage);
	if (::connect(sockets[1].fd, target, spec.target.length) != 0) {
		if (errno != EALREADY && errno != EINPROGRESS && errno != EINTR)
			fail(FlowEnd::ConnectFailed, errno);
		return;
	}
	sockets[1].writable = true;
	finishConnect(false);
}

void Flow::connectTimedOut()
{
	if (state == State::Connecting)
		fail(FlowEnd::ConnectTimeout, ETIMEDOUT);
}

void Flow::finishConnect(bool failed)
{
	int error = 0;
	socklen_t length = sizeof error;
	if (failed)
		getsockopt(sockets[1].fd, SOL_SOCKET, SO_ERROR, &error, &length);
	if (error != 0) {
		fail(error == ETIMEDOUT ? FlowEnd::ConnectTimeout : FlowEnd::ConnectFailed, error);
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
	engine.opened(*this);
	if (sockets[0].fd >= 0) {
		watchNear();
		/* It was accepted a while ago: most clients have sent data. */
		sockets[0].readable = sockets[0].writable = true;
	}
	if (streamSide == 0 && streamSession == nullptr) {
		/* The client has left meanwhile; its data is delivered. */
		drain(1, FlowEnd::Complete, 0, false);
		return;
	}
	pump();
}

void Flow::request(Session *session, std::string_view fields, bool reportOpen)
{
	if (state != State::Pending)
		return;
	reportOpen_ = reportOpen;
	streamSide = 1;
	/* Before the retry below, which must not choose it again. */
	if (session != nullptr && session->hasExpired())
		session->expire();
	if (session == nullptr || !session->acceptsStreams() ||
	    session->submitRequest(this, fields) < 0) {
		streamSide = -1;
		/* Still pending: nothing was read or sent, so another connection can be tried. */
		engine.emit(EventType::FlowClosed, id, {static_cast<int>(FlowEnd::Retry)});
		return;
	}
	state = State::Requesting;
	/* A peer may never answer: there is no timeout, but the client may end. */
	watchNear();
	if (sockets[0].error != 0)
		clientReset();
	directions[1].pending.countIn(session->held);
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
	fail(FlowEnd::Aborted, 0);
}

/*
 * The end of a drain. If every received byte was delivered, both ends get FIN, as with other
 * proxies; otherwise the abort that follows resets: truncated data must
 * not look complete.
 */
void Flow::leave()
{
	if (state != State::Open)
		return;
	pump();
	if (state != State::Open)
		return;
	for (int side = 0; side < 2; side++) {
		if (!directions[side].pending.empty() ||
		    (side != streamSide &&
		     (sockets[side].error != 0 || unreadBytes(sockets[side].fd) > 0)))
			return;
	}
	leaving_ = true;
	for (int side = 0; side < 2; side++) {
		/* The stream reads once more, and finds the end. */
		if (streamSide == 1 - side)
			sockets[side].readable = true;
		else
			directions[side].sourceEnded = true;
	}
	pump();
}

/* Every received byte was delivered, and both ends know that no more will come. */
bool Flow::isThrough() const
{
	return leaving_ && directions[0].sinkEnded && directions[1].sinkEnded;
}

/* Refuses an undecided connection: a request gets `status`, an accepted socket a close. */
void Flow::reject(int status)
{
	if (state != State::Pending)
		return;
	failStatus_ = status;
	fail(FlowEnd::Aborted, status);
}

void Flow::refuse()
{
	reported_ = true;
	if (streamSession != nullptr)
		streamSession->resetStream(this, NGHTTP2_REFUSED_STREAM);
	close(FlowEnd::Aborted, 0, {}, false);
}

void Flow::fail(FlowEnd reason, int code, const std::string &text)
{
	if (state == State::Closed)
		return;
	if (state == State::Draining) {
		/* The kernel delivers the bytes that it has. */
		bool flushed = directions[1 - drain_->side].pending.empty();
		if (flushed)
			report(drain_->reason, drain_->code, {});
		close(reason, code, text, !flushed);
		return;
	}
	if (state == State::Open && reason == FlowEnd::Reset && streamSide < 0) {
		int survivor = sockets[0].error != 0 ? 1 : 0;
		if (sockets[survivor].error == 0) {
			drain(survivor, reason, code, true);
			return;
		}
	}
	bool answered = state == State::Open;
	if (streamSide == 0 && streamSession != nullptr && !answered && failStatus_ != 0) {
		respond(failStatus_, {}, true);
		streamSession->leaveStream(this);
	}
	/* Nothing was read before the opening, so a close loses nothing, and a client is not reset
	 * inside its connect(): the kernel itself resets if bytes are left in the receive
	 * queue. */
	close(reason, code, text, answered && !isThrough());
}

void Flow::close(FlowEnd reason, int code, const std::string &text, bool reset)
{
	if (state == State::Closed)
		return;
	/* Cut in the middle: CANCEL could be taken for an orderly end. */
	uint32_t streamCode = NGHTTP2_CONNECT_ERROR;
	if (reason == FlowEnd::Aborted)
		streamCode = state == State::Open ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL;
	if (isThrough())
		streamCode = NGHTTP2_NO_ERROR;
	state = State::Closed;
	if (streamSession != nullptr)
		streamSession->resetStream(this, streamCode);
	for (Socket &socket : sockets)
		closeSocket(engine, socket, reset);
	if (held_) {
		engine.events.add(EventType::FlowReleased, id);
		engine.announce(true);
	}
	report(reason, code, text);
	auto client = engine.clients.find(clientKey);
	if (clientKey != 0 && client != engine.clients.end() && --client->second == 0)
		engine.clients.erase(client);
	engine.bury(this);
}

/* Call it before an event about the flow: TypeScript must know of it. */
void Flow::announce()
{
	if (admittedUs != 0 && !eventQueued_)
		engine.plans.announce(id);
	eventQueued_ = true;
}

/* Sends the last event of the flow, with its byte counts. */
void Flow::report(FlowEnd reason, int code, const std::string &text)
{
	if (reported_)
		return;
	reported_ = true;
	held_ = state == State::Draining;
	if (!held_ && reason == FlowEnd::Complete && admittedUs != 0 && !eventQueued_ &&
	    engine.plans.ended(id, Engine::preciseUs(), directions[0].bytes, directions[1].bytes))
		return;
	announce();
	if (held_)
		engine.events.add(EventType::FlowHeld, id);
	engine.events.add(
	    EventType::FlowClosed, id,
	    {static_cast<double>(reason), static_cast<double>(code),
	     static_cast<double>(directions[0].bytes), static_cast<double>(directions[1].bytes),
	     admittedUs == 0 ? -1 : static_cast<double>(Engine::preciseUs() - admittedUs) / 1000});
	if (!text.empty())
		engine.events.addText(std::string(text));
	engine.announce(true);
}

void Flow::finishIfDone()
{
	if (state != State::Open)
		return;
	bool streamFinished = streamSide < 0 || streamDone_ || streamSession == nullptr;
	if (directions[0].sinkEnded && directions[1].sinkEnded && streamFinished) {
		close(FlowEnd::Complete, 0, {}, false);
	}
}

} // namespace kmesh::tunnel
