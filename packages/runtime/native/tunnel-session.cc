/* One mTLS HTTP/2 connection: handshake, frames in and out, liveness, draining (ambient
 * contract 6.1, 6.4, 6.9). */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tunnel-engine.h"

namespace kmesh::tunnel
{

static constexpr size_t kOutHigh = 256 << 10;
static constexpr size_t kGather = 16 << 10;
static constexpr size_t kTurn = 1 << 20;

Session::Session(Engine &owner, uint64_t number, bool isServer)
    : engine(owner), id(number), server(isServer)
{
}

Session::~Session()
{
	if (http != nullptr)
		nghttp2_session_del(http);
	if (ssl_ != nullptr)
		SSL_free(ssl_);
	if (fd_ >= 0)
		::close(fd_);
}

bool Session::acceptsPeer(const std::vector<std::string> &peer) const
{
	if (server) {
		std::string prefix = "spiffe://" + trustDomain_ + "/";
		for (const std::string &name : peer) {
			if (name.compare(0, prefix.size(), prefix) == 0)
				return true;
		}
		return false;
	}
	for (const std::string &name : peer) {
		for (const std::string &wanted : identities_) {
			if (name == wanted)
				return true;
		}
	}
	return false;
}

void Session::adopt(int fd)
{
	fd_ = fd;
	engine.watch(fd, this, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void Session::accept(SSL_CTX *context, const std::string &trustDomain)
{
	if (state != State::Undecided)
		return;
	trustDomain_ = trustDomain;
	startTls(context);
	if (readable_)
		readSocket();
}

void Session::connect(const ConnectSpec &spec, SSL_CTX *context,
		      std::vector<std::string> identities)
{
	identities_ = std::move(identities);
	SSL_CTX_up_ref(context);
	context_ = std::shared_ptr<SSL_CTX>(context, SSL_CTX_free);
	int error = 0;
	bool kept = true;
	int fd = engine.openSocket(spec, &error, &kept);
	if (fd < 0) {
		bool setup =
		    error == EMFILE || error == ENFILE || error == ENONET || error == EPERM;
		kill(setup ? SessionEnd::SetupFailed : SessionEnd::ConnectFailed, error,
		     strerror(error));
		return;
	}
	state = State::Connecting;
	engine.schedule(spec.timeoutMs, id, kTimerConnect + 100);
	adopt(fd);
}

void Session::nest(Session *carrier, std::string_view fields, SSL_CTX *context,
		   std::vector<std::string> identities)
{
	identities_ = std::move(identities);
	SSL_CTX_up_ref(context);
	context_ = std::shared_ptr<SSL_CTX>(context, SSL_CTX_free);
	state = State::Connecting;
	engine.schedule(engine.config.handshakeTimeoutMs, id, kTimerHandshake);
	if (carrier == nullptr || !carrier->acceptsStreams() ||
	    carrier->submitRequest(this, fields) < 0) {
		kill(SessionEnd::CarrierFailed, 0, "the gateway connection is closing");
	}
}

void Session::startTls(SSL_CTX *context)
{
	state = State::Handshaking;
	engine.schedule(engine.config.handshakeTimeoutMs, id, kTimerHandshake);
	ssl_ = SSL_new(context);
	BIO *bio = BIO_new(sessionBioMethod());
	BIO_set_data(bio, this);
	SSL_set_bio(ssl_, bio, bio);
	SSL_set_ex_data(ssl_, 0, this);
	if (server) {
		SSL_set_accept_state(ssl_);
	} else {
		SSL_set_connect_state(ssl_);
		handshake();
		sendOut();
	}
}

size_t Session::takeInput(uint8_t *into, size_t length)
{
	size_t taken = length < inLength_ ? length : inLength_;
	memcpy(into, in_, taken);
	in_ += taken;
	inLength_ -= taken;
	return taken;
}

void Session::putOutput(const uint8_t *bytes, size_t length)
{
	out_.append(bytes, length);
}

void Session::handshake()
{
	ERR_clear_error();
	int result = SSL_do_handshake(ssl_);
	if (result == 1) {
		const unsigned char *protocol = nullptr;
		unsigned int length = 0;
		SSL_get0_alpn_selected(ssl_, &protocol, &length);
		if (length != 2 || memcmp(protocol, "h2", 2) != 0) {
			kill(SessionEnd::TlsFailed, 0, "the peer did not agree on HTTP/2");
			return;
		}
		startHttp();
		return;
	}
	if (SSL_get_error(ssl_, result) == SSL_ERROR_WANT_READ)
		return;
	std::string text = tlsErrorText();
	if (verifyError != 0) {
		if (verifyError != X509_V_ERR_APPLICATION_VERIFICATION)
			text = X509_verify_cert_error_string(verifyError);
		else if (server)
			text =
			    "the client's certificate carries no identity of the own trust domain";
		else
			text = "the server's certificate carries none of the expected identities";
	}
	sendOut(); /* the alert */
	kill(SessionEnd::TlsFailed, verifyError, text);
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
	engine.schedule(engine.config.pingIntervalMs, id, kTimerPing);
	if (server)
		emitReady();
	if (drainWhenReady_)
		engine.schedule(200, id, kTimerDrain);
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
}

void Session::gotSettings()
{
	uint32_t limit =
	    nghttp2_session_get_remote_settings(http, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	if (server)
		return;
	if (!settingsSeen_) {
		settingsSeen_ = true;
		/* Ready only now: a server that rejects our certificate never gets this far in
		 * TLS 1.3. */
		if (state == State::Settling)
			emitReady();
		return;
	}
	engine.emit(EventType::SessionLimit, id, {static_cast<double>(limit)});
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

void Session::timer(int kind)
{
	switch (kind) {
	case kTimerConnect + 100:
		if (state == State::Connecting)
			kill(SessionEnd::ConnectTimeout, ETIMEDOUT, "connect timed out");
		break;
	case kTimerHandshake:
		if (state == State::Handshaking || state == State::Settling ||
		    state == State::Connecting) {
			kill(SessionEnd::TlsFailed, ETIMEDOUT, "the TLS handshake timed out");
		}
		break;
	case kTimerPing:
		if (http == nullptr || state == State::Dead)
			break;
		if (pingSentAt_ == 0) {
			pingSentAt_ = engine.nowMs();
			nghttp2_submit_ping(http, 0, nullptr);
			engine.schedule(engine.config.pingTimeoutMs, id, kTimerPong);
			markDirty();
		}
		engine.schedule(engine.config.pingIntervalMs, id, kTimerPing);
		break;
	case kTimerPong:
		if (pingSentAt_ != 0 &&
		    engine.nowMs() - pingSentAt_ >= engine.config.pingTimeoutMs) {
			nghttp2_submit_goaway(http, 0,
					      nghttp2_session_get_last_proc_stream_id(http),
					      NGHTTP2_NO_ERROR, nullptr, 0);
			flush();
			kill(SessionEnd::PingTimeout, 0, "the peer stopped answering PING");
		}
		break;
	case kTimerPing + 100:
		readSocket();
		break;
	case kTimerDrain:
		drain();
		break;
	case kTimerGoaway:
		if (http == nullptr || state == State::Dead || goawaySent_)
			break;
		goawaySent_ = true;
		nghttp2_submit_goaway(http, 0, nghttp2_session_get_last_proc_stream_id(http),
				      NGHTTP2_NO_ERROR, nullptr, 0);
		markDirty();
		break;
	default:
		if (kind >= kTimerStream && http != nullptr &&
		    nghttp2_session_find_stream(http, kind - kTimerStream)) {
			nghttp2_submit_rst_stream(http, 0, kind - kTimerStream, NGHTTP2_NO_ERROR);
			markDirty();
		}
		break;
	}
}

void Session::drain()
{
	if (state == State::Dead)
		return;
	if (http == nullptr) {
		/* A peer that was accepted is served: it is told to go elsewhere after its first
		 * requests. */
		if (server)
			drainWhenReady_ = true;
		else
			kill(SessionEnd::Closed, 0, "");
		return;
	}
	if (draining_ && !server) {
		markDirty();
		return;
	}
	if (draining_)
		return;
	draining_ = true;
	if (server) {
		/* Two steps, so that requests already on their way are still served. */
		nghttp2_submit_shutdown_notice(http);
		engine.schedule(200, id, kTimerGoaway);
	} else {
		goawaySent_ = true;
		nghttp2_submit_goaway(http, 0, 0, NGHTTP2_NO_ERROR, nullptr, 0);
	}
	markDirty();
}

void Session::kill(SessionEnd end, int code, const std::string &text)
{
	if (state == State::Dead)
		return;
	state = State::Dead;
	if (fd_ >= 0)
		engine.unwatch(fd_);
	engine.emit(EventType::SessionClosed, id,
		    {static_cast<double>(end), static_cast<double>(code)});
	engine.events.addText(std::string(text));
	std::vector<StreamUser *> orphans(users.begin(), users.end());
	users.clear();
	for (StreamUser *user : orphans) {
		user->streamSession = nullptr;
		user->streamClosed(0, true);
	}
	if (streamSession != nullptr) {
		Session *carrier = streamSession;
		carrier->resetStream(this,
				     end == SessionEnd::Closed ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
	}
	if (fd_ >= 0 && end != SessionEnd::Closed && end != SessionEnd::TlsFailed &&
	    end != SessionEnd::Http2Failed && end != SessionEnd::PingTimeout) {
		linger reset{1, 0};
		setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	}
	engine.bury(this);
}

static ssize_t pullData(nghttp2_session *, int32_t, uint8_t *into, size_t length, uint32_t *flags,
			nghttp2_data_source *source, void *)
{
	return static_cast<StreamUser *>(source->ptr)->streamPull(into, length, flags);
}

int32_t Session::submitRequest(StreamUser *user, std::string_view fields)
{
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
	users.insert(flow.get());
	openStreams_++;
	nghttp2_session_set_stream_user_data(http, stream, flow.get());
	engine.flows.emplace(number, std::move(flow));
}

void Session::gotRequest(Flow *flow, bool end)
{
	if (flow->requestHeaders == nullptr)
		return;
	if (end)
		flow->directions[0].sourceEnded = true;
	RequestHeaders &headers = *flow->requestHeaders;
	EventBatch &events = engine.events;
	/* References first: a definition is an event by itself. */
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
		/* Every client's own. */
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

void Session::consumed(StreamUser *user, size_t length)
{
	if (http == nullptr || length == 0)
		return;
	nghttp2_session_consume(http, user->streamId, length);
	user->streamUnconsumed -= length;
	markDirty();
}

void Session::resetStream(StreamUser *user, uint32_t code)
{
	if (user->streamSession != this)
		return;
	users.erase(user);
	user->streamSession = nullptr;
	nghttp2_session_set_stream_user_data(http, user->streamId, nullptr);
	nghttp2_session_consume_connection(http, user->streamUnconsumed);
	user->streamUnconsumed = 0;
	nghttp2_submit_rst_stream(http, 0, user->streamId, code);
	markDirty();
}

void Session::leaveStream(StreamUser *user)
{
	if (user->streamSession != this)
		return;
	users.erase(user);
	user->streamSession = nullptr;
	nghttp2_session_set_stream_user_data(http, user->streamId, nullptr);
	nghttp2_session_consume_connection(http, user->streamUnconsumed);
	user->streamUnconsumed = 0;
	engine.schedule(1000, id, kTimerStream + user->streamId);
	markDirty();
}

void Session::streamGone()
{
	if (openStreams_ > 0)
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

void Session::encrypt(const uint8_t *bytes, size_t length)
{
	while (length > 0 && state != State::Dead) {
		ERR_clear_error();
		int written = SSL_write(ssl_, bytes, static_cast<int>(length));
		if (written <= 0) {
			kill(SessionEnd::TlsFailed, 0, tlsErrorText());
			return;
		}
		bytes += written;
		length -= static_cast<size_t>(written);
	}
}

/* Sends what is encrypted; true when all of it left. A carrier pulls instead. */
bool Session::writeOut()
{
	if (streamSession != nullptr || fd_ < 0) {
		if (streamSession != nullptr && !out_.empty())
			streamSession->resume(this);
		return out_.size() < kOutHigh;
	}
	while (!out_.empty()) {
		ssize_t sent = send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN) {
				blocked_ = true;
				return false;
			}
			int error = errno;
			out_.reset();
			kill(state == State::Handshaking ? SessionEnd::TlsFailed
							 : SessionEnd::Closed,
			     error, strerror(error));
			return false;
		}
		out_.consume(static_cast<size_t>(sent));
	}
	blocked_ = false;
	return true;
}

void Session::sendOut()
{
	if (!out_.empty())
		writeOut();
}

void Session::flush()
{
	if (blocked_ || ssl_ == nullptr)
		return;
	bool borrowed = out_.empty() && streamSession == nullptr;
	if (borrowed)
		out_.swap(engine.spareOut);
	size_t produced = 0;
	std::vector<uint8_t> &gather = engine.gather;
	gather.clear();
	while (http != nullptr && state != State::Dead) {
		if (out_.size() >= kOutHigh && !writeOut())
			break;
		if (produced >= kTurn) {
			markDirty();
			break;
		}
		const uint8_t *frame = nullptr;
		ssize_t length = nghttp2_session_mem_send2(http, &frame);
		if (length < 0) {
			kill(SessionEnd::Http2Failed, static_cast<int>(length),
			     nghttp2_strerror(static_cast<int>(length)));
			break;
		}
		if (length == 0)
			break;
		size_t size = static_cast<size_t>(length);
		produced += size;
		if (gather.size() + size > kGather && !gather.empty()) {
			encrypt(gather.data(), gather.size());
			gather.clear();
		}
		if (size >= kGather) {
			encrypt(frame, size);
		} else {
			gather.insert(gather.end(), frame, frame + size);
		}
	}
	if (state != State::Dead && !gather.empty()) {
		encrypt(gather.data(), gather.size());
		gather.clear();
	}
	if (state != State::Dead && !blocked_)
		writeOut();
	if (borrowed && out_.empty())
		out_.swap(engine.spareOut);
	if (state != State::Dead)
		checkIdle();
}

void Session::checkIdle()
{
	if (http == nullptr || blocked_)
		return;
	bool finished = !nghttp2_session_want_read(http) && !nghttp2_session_want_write(http);
	bool drained = draining_ && openStreams_ == 0 && (!server || goawaySent_);
	if (!finished && !drained)
		return;
	if (nghttp2_session_want_write(http))
		return;
	bool failed = !protocolError.empty() && !drained;
	SSL_shutdown(ssl_);
	sendOut();
	kill(failed ? SessionEnd::Http2Failed : SessionEnd::Closed, 0, protocolError);
}

void Session::input(const uint8_t *bytes, size_t length)
{
	in_ = bytes;
	inLength_ = length;
	if (state == State::Handshaking) {
		handshake();
		if (state == State::Handshaking || state == State::Dead) {
			sendOut();
			return;
		}
	}
	uint8_t *plain = engine.plainScratch[engine.inputDepth < 1 ? 0 : 1];
	while (state == State::Open || state == State::Settling) {
		size_t filled = 0;
		int problem = 0;
		while (filled < Engine::kScratch) {
			ERR_clear_error();
			int got = SSL_read(ssl_, plain + filled,
					   static_cast<int>(Engine::kScratch - filled));
			if (got <= 0) {
				problem = SSL_get_error(ssl_, got);
				break;
			}
			filled += static_cast<size_t>(got);
		}
		if (filled > 0) {
			engine.inputDepth++;
			ssize_t used = nghttp2_session_mem_recv2(http, plain, filled);
			engine.inputDepth--;
			markDirty();
			if (used < 0) {
				flush();
				kill(SessionEnd::Http2Failed, static_cast<int>(used),
				     nghttp2_strerror(static_cast<int>(used)));
				return;
			}
		}
		if (problem == 0)
			continue;
		if (problem == SSL_ERROR_WANT_READ)
			break;
		if (problem == SSL_ERROR_ZERO_RETURN) {
			peerClosed();
		} else {
			std::string text = tlsErrorText();
			kill(SessionEnd::TlsFailed, 0, text);
		}
		return;
	}
}

void Session::peerClosed()
{
	if (state == State::Dead)
		return;
	if (state == State::Handshaking || state == State::Settling) {
		kill(SessionEnd::TlsFailed, ECONNRESET,
		     "the peer closed the connection during the handshake");
	} else {
		kill(SessionEnd::Closed, 0, "the peer closed the connection");
	}
}

void Session::readSocket()
{
	for (int turns = 0; readable_ && state != State::Dead && state != State::Undecided;
	     turns++) {
		if (turns == 8) {
			engine.schedule(0, id, kTimerPing + 100);
			return;
		}
		ssize_t got = recv(fd_, engine.cipherScratch, Engine::kScratch, 0);
		if (got > 0) {
			if (static_cast<size_t>(got) < Engine::kScratch && !inputEnded_)
				readable_ = false;
			input(engine.cipherScratch, static_cast<size_t>(got));
		} else if (got == 0) {
			readable_ = false;
			peerClosed();
		} else if (errno == EAGAIN) {
			readable_ = false;
		} else if (errno != EINTR) {
			int error = errno;
			readable_ = false;
			bool early = state == State::Handshaking || state == State::Settling;
			kill(early ? SessionEnd::TlsFailed : SessionEnd::Closed, error,
			     strerror(error));
		}
	}
}

void Session::onEvents(uint32_t events)
{
	if (state == State::Dead)
		return;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		inputEnded_ = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		readable_ = true;
	if (events & EPOLLOUT)
		writable_ = true;
	if (state == State::Connecting && fd_ >= 0 && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		int error = 0;
		socklen_t length = sizeof error;
		getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error != 0) {
			kill(error == ETIMEDOUT ? SessionEnd::ConnectTimeout
						: SessionEnd::ConnectFailed,
			     error, strerror(error));
			return;
		}
		startTls(context_.get());
	}
	if (state == State::Dead)
		return;
	if (blocked_ && (events & EPOLLOUT) && writeOut())
		markDirty();
	if (readable_ && state != State::Dead)
		readSocket();
}

/* A session nested in a stream of another one: the stream is its transport. */
void Session::streamResponse(int status, const std::string &, bool end)
{
	if (status != 200 || end) {
		kill(SessionEnd::CarrierFailed, status,
		     "the gateway answered CONNECT with status " + std::to_string(status));
		return;
	}
	carrierOpen_ = true;
	startTls(context_.get());
}

void Session::streamData(const uint8_t *bytes, size_t length)
{
	if (state == State::Dead)
		return;
	Session *carrier = streamSession;
	if (carrier != nullptr)
		carrier->consumed(this, length);
	input(bytes, length);
}

void Session::streamEnd()
{
	peerClosed();
}

void Session::streamClosed(uint32_t, bool)
{
	if (state == State::Dead)
		return;
	if (state == State::Connecting) {
		kill(SessionEnd::CarrierFailed, 0, "the gateway closed the stream");
	} else {
		peerClosed();
	}
}

ssize_t Session::streamPull(uint8_t *into, size_t length, uint32_t *)
{
	if (!carrierOpen_ || out_.empty()) {
		streamDeferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	size_t taken = length < out_.size() ? length : out_.size();
	memcpy(into, out_.data(), taken);
	out_.consume(taken);
	if (out_.size() < kOutHigh)
		markDirty();
	return static_cast<ssize_t>(taken);
}

} // namespace kmesh::tunnel
