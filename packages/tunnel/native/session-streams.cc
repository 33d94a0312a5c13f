/* The streams of one HTTP/2 connection: settings, requests either way, their ends. */
#include <string.h>
#include <time.h>

#include <algorithm>

#include "engine.h"
#include "http2.h"
#include "tls.h"

namespace kmesh::tunnel
{

/* Allowance for window updates, SETTINGS, unsolicited PING acknowledgements and empty DATA of a
 * peer, beyond what our frames justify. */
static constexpr uint32_t kEmptyFrames = 10000;

/* How long before its end a served session announces it, so that a peer has no request on its way
 * then. Not a session that begins later than this: its peer has no better certificate. */
static constexpr int64_t kNoticeMs = 1000;
/* Longest timer: after a jump of the wall clock a session is checked again within this time. */
static constexpr int64_t kLongestExpiryMs = 60000;

static int64_t wallClockMs()
{
	timespec now{};
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
}

bool Session::hasExpired() const
{
	return validUntil_ <= wallClockMs() / 1000;
}

/* Asks the pool for other sessions, in a client; says GOAWAY, in a server. */
void Session::expire()
{
	if (state != State::Open || draining_)
		return;
	if (server) {
		drain();
		return;
	}
	draining_ = true;
	engine.emit(EventType::SessionDraining, id);
	markDirty();
}

void Session::watchExpiry()
{
	if (validUntil_ == INT64_MAX || state != State::Open || draining_)
		return;
	int64_t rest = validUntil_ * 1000 - wallClockMs() - expiryNoticeMs_;
	if (rest <= 0) {
		expire();
		return;
	}
	engine.schedule(static_cast<uint32_t>(std::min(rest, kLongestExpiryMs)), id,
			TimerKind::Expiry);
}

void Session::startHttp()
{
	state = State::Settling;
	int failed =
	    server ? nghttp2_session_server_new2(&http, engine.callbacks, this, engine.options)
		   : nghttp2_session_client_new2(&http, engine.callbacks, this, engine.options);
	if (failed != 0) {
		kill(SessionEnd::Http2Failed, failed, nghttp2_strerror(failed));
		return;
	}
	nghttp2_settings_entry settings[5];
	size_t count = 0;
	settings[count++] = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, engine.config.streamWindow};
	settings[count++] = {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, engine.config.frameSize};
	settings[count++] = {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
			     server ? engine.config.serverHeaderList
				    : engine.config.clientHeaderList};
	if (server) {
		settings[count++] = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
				     engine.config.serverStreams};
	} else {
		settings[count++] = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
	}
	nghttp2_submit_settings(http, 0, settings, count);
	nghttp2_session_set_local_window_size(http, 0, 0,
					      static_cast<int32_t>(engine.config.connectionWindow));
	engine.schedule(engine.config.pingIntervalMs, id, TimerKind::Ping);
	if (server)
		emitReady();
	if (drainWhenReady_)
		engine.schedule(200, id, TimerKind::Drain);
	markDirty();
}

void Session::emitReady()
{
	state = State::Open;
	double limit = server ? 0
			      : nghttp2_session_get_remote_settings(
				    http, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	EventExtra extra;
	std::vector<std::string> names;
	if (X509 *leaf = SSL_get0_peer_certificate(ssl_)) {
		names = uriNames(leaf);
		STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl_);
		for (int index = 0; chain != nullptr && index < sk_X509_num(chain); index++) {
			unsigned char *der = nullptr;
			int length = i2d_X509(sk_X509_value(chain, index), &der);
			if (length > 0)
				extra.blobs.emplace_back(reinterpret_cast<char *>(der),
							 static_cast<size_t>(length));
			OPENSSL_free(der);
		}
	}
	engine.emit(EventType::SessionReady, id, {limit, engine.events.addExtra(std::move(extra))});
	for (std::string &name : names)
		engine.events.addText(std::move(name));
	validUntil_ = certificatesValidUntil(ssl_);
	if (server && validUntil_ * 1000 - wallClockMs() > kNoticeMs)
		expiryNoticeMs_ = kNoticeMs;
	watchExpiry();
}

void Session::gotSettings()
{
	uint32_t limit =
	    nghttp2_session_get_remote_settings(http, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	if (server || (settingsSeen_ && limit == streamLimit_))
		return;
	streamLimit_ = limit;
	if (!settingsSeen_) {
		settingsSeen_ = true;
		/* Ready only now: a server that rejects our certificate never gets this far in
		 * TLS 1.3. */
		if (state == State::Settling)
			emitReady();
		return;
	}
	engine.emit(EventType::SessionLimit, id, {static_cast<double>(limit)});
	if (openStreams_ > limit)
		withdrawUnsent();
}

/* Requests that wait for the socket would now wait for streams to end, without limit: they can be
 * sent on another session. nghttp2 keeps them until it may open a stream again. */
void Session::withdrawUnsent()
{
	std::vector<StreamUser *> unsent;
	for (StreamUser *user : users) {
		if (nghttp2_session_find_stream(http, user->streamId) == nullptr)
			unsent.push_back(user);
	}
	for (StreamUser *user : unsent) {
		withdrawn_.insert(user->streamId);
		openStreams_--;
		resetStream(user, NGHTTP2_REFUSED_STREAM);
		user->streamClosed(NGHTTP2_REFUSED_STREAM, false);
	}
}

void Session::gotGoaway()
{
	if (draining_)
		return;
	draining_ = true;
	engine.emit(EventType::SessionDraining, id);
	markDirty();
}

void Session::gotPong()
{
	pingSentAt_ = 0;
}

bool Session::gotEmptyFrame()
{
	if (++emptyFrames_ <= kEmptyFrames)
		return true;
	protocolError = "the peer sends too many frames without content";
	nghttp2_session_terminate_session(http, NGHTTP2_ENHANCE_YOUR_CALM);
	return false;
}

void Session::earnEmptyFrames(uint32_t count)
{
	emptyFrames_ -= std::min(emptyFrames_, count);
}

static ssize_t pullData(nghttp2_session *, int32_t, uint8_t *into, size_t length, uint32_t *flags,
			nghttp2_data_source *source, void *)
{
	return static_cast<StreamUser *>(source->ptr)->streamPull(into, length, flags);
}

int32_t Session::submitRequest(StreamUser *user, std::string_view fields)
{
	/* nghttp2 would queue it. Another session can be tried. */
	if (openStreams_ >=
	    nghttp2_session_get_remote_settings(http, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
		return -1;
	nghttp2_nv list[kMaximumFields];
	size_t count = readFields(fields, list, kMaximumFields);
	nghttp2_data_provider2 provider;
	provider.source.ptr = user;
	provider.read_callback = pullData;
	int32_t stream = nghttp2_submit_request2(http, nullptr, list, count, &provider, user);
	if (stream < 0)
		return stream;
	user->streamDeferred = false;
	user->responseStatus = 0;
	user->responseBaggage.clear();
	user->headerBytes = 0;
	user->streamUnconsumed = 0;
	user->streamSession = this;
	user->streamId = stream;
	users.insert(user);
	openStreams_++;
	markDirty();
	return stream;
}

void Session::beginRequest(int32_t stream)
{
	uint64_t number = engine.nextId();
	auto flow = std::make_unique<Flow>(engine, number);
	flow->requestHeaders = std::make_unique<RequestHeaders>();
	flow->streamSide = 0;
	flow->streamSession = this;
	flow->streamId = stream;
	flow->directions[0].pending.countIn(held);
	users.insert(flow.get());
	openStreams_++;
	nghttp2_session_set_stream_user_data(http, stream, flow.get());
	engine.flows.emplace(number, std::move(flow));
}

void Session::gotRequest(Flow *flow, bool end)
{
	if (flow->requestHeaders == nullptr)
		return;
	if (hasExpired()) {
		expire();
		flow->refuse();
		return;
	}
	if (end)
		flow->directions[0].sourceEnded = true;
	RequestHeaders &headers = *flow->requestHeaders;
	flow->planKey = kmesh::tunnel::planKey(id, headers);
	if (std::shared_ptr<const Plan> plan = engine.plans.find(flow->planKey)) {
		uint64_t now = Engine::preciseUs();
		if (engine.plans.admit(*plan, {flow->id, plan->number, 0, now})) {
			flow->admittedUs = now;
			flow->requestHeaders.reset();
			engine.admittedRequests.emplace_back(flow->id, std::move(plan));
			engine.announceAdmitted();
			return;
		}
	}
	EventBatch &events = engine.events;
	/* References first: a definition is a separate event. */
	std::vector<int32_t> &references = engine.references;
	references.clear();
	auto refer = [&](const std::string &text, bool often) {
		references.push_back(often && text.size() <= KnownTexts::kLongest
					 ? engine.knownTexts.text(events, text)
					 : -1);
	};
	refer(headers.method, true);
	refer(headers.authority, true);
	for (size_t index = 0; index + 1 < headers.fields.size(); index += 2) {
		refer(headers.fields[index], true);
		/* Differs per client. */
		refer(headers.fields[index + 1], headers.fields[index] != "forwarded");
	}
	events.add(EventType::Request, flow->id, {static_cast<double>(id)});
	size_t at = 0;
	auto add = [&](std::string &text) {
		int32_t reference = references[at++];
		if (reference >= 0)
			events.addKnown(reference);
		else
			events.addText(std::move(text));
	};
	add(headers.method);
	add(headers.authority);
	for (std::string &text : headers.fields)
		add(text);
	flow->requestHeaders.reset();
	engine.announce();
}

void Session::resume(StreamUser *user)
{
	if (!user->streamDeferred || http == nullptr)
		return;
	user->streamDeferred = false;
	nghttp2_session_resume_data(http, user->streamId);
	markDirty();
}

/* A stream's window bounds what its receiver leaves unread. The connection's is given back at once
 * while little is held, so that streams that nobody reads do not stop the others. */
void Session::received(StreamUser *user, size_t length)
{
	user->streamUnconsumed += length;
	unreleased_ += length;
	if (held->holdsLittle()) {
		nghttp2_session_consume_connection(http, unreleased_);
		unreleased_ = 0;
	}
}

void Session::consumed(StreamUser *user, size_t length)
{
	if (http == nullptr || length == 0)
		return;
	nghttp2_session_consume_stream(http, user->streamId, length);
	size_t due = std::min(length, unreleased_);
	nghttp2_session_consume_connection(http, due);
	unreleased_ -= due;
	user->streamUnconsumed -= length;
	markDirty();
}

void Session::release(StreamUser *user)
{
	size_t due = std::min(user->streamUnconsumed, unreleased_);
	nghttp2_session_consume_connection(http, due);
	unreleased_ -= due;
	user->streamUnconsumed = 0;
}

/* Detaches the user of a stream that continues; the connection's window that it held is released.
 */
void Session::forget(StreamUser *user)
{
	users.erase(user);
	user->streamSession = nullptr;
	nghttp2_session_set_stream_user_data(http, user->streamId, nullptr);
	release(user);
}

void Session::resetStream(StreamUser *user, uint32_t code)
{
	if (user->streamSession != this)
		return;
	forget(user);
	nghttp2_submit_rst_stream(http, 0, user->streamId, code);
	markDirty();
}

void Session::leaveStream(StreamUser *user)
{
	if (user->streamSession != this)
		return;
	forget(user);
	engine.schedule(1000, id, TimerKind::Stream, user->streamId);
	markDirty();
}

void Session::streamGone(int32_t stream)
{
	if (withdrawn_.erase(stream) == 0 && openStreams_ > 0)
		openStreams_--;
	markDirty();
}

void Session::markDirty()
{
	if (dirty || state == State::Dead)
		return;
	dirty = true;
	engine.dirtySessions.push_back(this);
}

} // namespace kmesh::tunnel
