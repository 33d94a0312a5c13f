/* The life of one mTLS HTTP/2 connection: start, trust, liveness, draining (ambient
 * contract 6.1, 6.4, 6.9). */
#include <errno.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "engine.h"
#include "http2.h"
#include "tls.h"

namespace kmesh::tunnel
{

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
		return std::any_of(peer.begin(), peer.end(), [this](const std::string &name) {
			return isIdentityOf(name, trustDomain_);
		});
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
	SSL_CTX_up_ref(context);
	context_ = std::shared_ptr<SSL_CTX>(context, SSL_CTX_free);
	beginHandshake();
	handshakeLater();
}

void Session::connect(const ConnectSpec &spec, SSL_CTX *context,
		      std::vector<std::string> identities)
{
	identities_ = std::move(identities);
	handshakeOwner.pod = spec.namespaceId;
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
	engine.schedule(spec.timeoutMs, id, TimerKind::SessionConnect);
	adopt(fd);
}

void Session::timer(TimerKind kind, int32_t stream)
{
	switch (kind) {
	case TimerKind::SessionConnect:
		if (state == State::Connecting)
			kill(SessionEnd::ConnectTimeout, ETIMEDOUT, "connect timed out");
		break;
	case TimerKind::Handshake:
		if (state == State::Handshaking || state == State::Settling ||
		    state == State::Connecting) {
			kill(SessionEnd::TlsFailed, ETIMEDOUT, "the TLS handshake timed out");
		}
		break;
	case TimerKind::Ping:
		if (http == nullptr || state == State::Dead)
			break;
		if (pingSentAt_ == 0) {
			pingSentAt_ = engine.nowMs();
			nghttp2_submit_ping(http, 0, nullptr);
			engine.schedule(engine.config.pingTimeoutMs, id, TimerKind::Pong);
			markDirty();
		}
		engine.schedule(engine.config.pingIntervalMs, id, TimerKind::Ping);
		break;
	case TimerKind::Pong:
		if (pingSentAt_ == 0 || state == State::Dead)
			break;
		/* The answer may wait behind other bytes, which prove liveness as well. */
		if (uint64_t silent = engine.nowMs() - std::max(pingSentAt_, lastInputAt_);
		    silent < engine.config.pingTimeoutMs) {
			engine.schedule(engine.config.pingTimeoutMs - static_cast<uint32_t>(silent),
					id, TimerKind::Pong);
		} else {
			nghttp2_submit_goaway(http, 0,
					      nghttp2_session_get_last_proc_stream_id(http),
					      NGHTTP2_NO_ERROR, nullptr, 0);
			flush();
			kill(SessionEnd::PingTimeout, 0, "the peer stopped answering PING");
		}
		break;
	case TimerKind::Read:
		readDue_ = false;
		readSoon();
		break;
	case TimerKind::Drain:
		drain();
		break;
	case TimerKind::Expiry:
		watchExpiry();
		break;
	case TimerKind::Leave:
		leaveStep();
		break;
	case TimerKind::Goaway:
		if (http == nullptr || state == State::Dead || goawaySent_)
			break;
		goawaySent_ = true;
		nghttp2_submit_goaway(http, 0, nghttp2_session_get_last_proc_stream_id(http),
				      NGHTTP2_NO_ERROR, nullptr, 0);
		markDirty();
		break;
	case TimerKind::Stream:
		if (http != nullptr && state != State::Dead &&
		    nghttp2_session_find_stream(http, stream)) {
			nghttp2_submit_rst_stream(http, 0, stream, NGHTTP2_NO_ERROR);
			markDirty();
		}
		break;
	default:
		break;
	}
}

void Session::drain()
{
	if (state == State::Dead)
		return;
	if (http == nullptr) {
		/* An accepted peer is served: it gets GOAWAY after its first
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
		/* Two steps, so that requests already in flight are still served. */
		nghttp2_submit_shutdown_notice(http);
		engine.schedule(200, id, TimerKind::Goaway);
	} else {
		goawaySent_ = true;
		nghttp2_submit_goaway(http, 0, 0, NGHTTP2_NO_ERROR, nullptr, 0);
	}
	markDirty();
}

void Session::kill(SessionEnd end, int code, const std::string &text)
{
	if (state == State::Dead) {
		if (end == SessionEnd::Aborted && streamSession != nullptr)
			leaveCarrier();
		return;
	}
	/* The peer may still send, and has the last bytes to read. */
	bool last = end == SessionEnd::Closed || end == SessionEnd::TlsFailed ||
		    end == SessionEnd::Http2Failed;
	bool leaves = last && carrierOpen_ && streamSession != nullptr;
	bool wasOpen = state == State::Open;
	closedDue_ = leaves && wasOpen;
	state = State::Dead;
	if (fd_ >= 0)
		engine.unwatch(fd_);
	if (!closedDue_)
		emitClosed(end, code, text);
	std::vector<StreamUser *> orphans(users.begin(), users.end());
	users.clear();
	for (StreamUser *user : orphans) {
		user->streamSession = nullptr;
		user->streamClosed(0, true);
	}
	if (leaves) {
		streamSession->resume(this);
		lastBytesSince_ = engine.nowMs();
		lastBytes_ = out_.size();
		leaveStep();
		return;
	}
	if (streamSession != nullptr)
		streamSession->resetStream(this, end == SessionEnd::Closed ? NGHTTP2_NO_ERROR
									   : NGHTTP2_CANCEL);
	if (fd_ >= 0 && last) {
		engine.lingering.add(std::exchange(fd_, -1), out_, wasOpen);
	} else if (fd_ >= 0 && end != SessionEnd::PingTimeout) {
		linger reset{1, 0};
		setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	}
	engine.bury(this);
}

void Session::emitClosed(SessionEnd end, int code, const std::string &text)
{
	engine.emit(EventType::SessionClosed, id,
		    {static_cast<double>(end), static_cast<double>(code)});
	engine.events.addText(std::string(text));
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

} // namespace kmesh::tunnel
