/* The bytes of one mTLS HTTP/2 connection, in and out, over a socket or a stream of another. */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>

#include "engine.h"
#include "tls.h"

namespace kmesh::tunnel
{

static constexpr size_t kGather = 16 << 10;
static constexpr size_t kTurn = 512 << 10;
/* Maximum duration of a turn of reading; a longer read halves the size of the next one. */
static constexpr uint64_t kReadTurnUs = 1000;
static constexpr uint64_t kSlowReadUs = 500;
static constexpr size_t kSmallestRead = 2 << 10;
/* While a session holds as much as it may: until the next look, and while nothing is free. */
static constexpr uint32_t kNoRoomMs = 5;
static constexpr size_t kReadWithoutRoom = 16 << 10;
/* Maximum number of key updates by the peer in a period. AES-GCM needs one after 24 million records
 * (RFC 8446, 5.5); each costs as much as a hundred records. */
static constexpr uint32_t kKeyUpdates = 32;
static constexpr uint64_t kKeyUpdatesMs = 10000;

static void onTlsMessage(int sent, int, int type, const void *bytes, size_t length, SSL *,
			 void *session)
{
	if (sent == 0 && type == SSL3_RT_HANDSHAKE && length > 0 &&
	    *static_cast<const uint8_t *>(bytes) == SSL3_MT_KEY_UPDATE)
		static_cast<Session *>(session)->gotKeyUpdate();
}

void Session::gotKeyUpdate()
{
	if (engine.nowMs() - keyUpdatesSince_ >= kKeyUpdatesMs) {
		keyUpdatesSince_ = engine.nowMs();
		keyUpdates_ = 0;
	}
	keyUpdates_++;
}

void Session::beginHandshake()
{
	state = State::Handshaking;
	engine.schedule(engine.config.handshakeTimeoutMs, id, TimerKind::Handshake);
}

void Session::handshakeLater()
{
	if (!handshakeDue_)
		engine.handshakes.add(handshakeOwner, id);
	handshakeDue_ = true;
}

void Session::continueHandshake()
{
	handshakeDue_ = false;
	if (state != State::Handshaking)
		return;
	if (ssl_ == nullptr)
		startTls();
	if (readable_)
		readSocket();
}

void Session::startTls()
{
	ssl_ = SSL_new(context_.get());
	BIO *bio = BIO_new(sessionBioMethod());
	BIO_set_data(bio, this);
	SSL_set_bio(ssl_, bio, bio);
	SSL_set_ex_data(ssl_, 0, this);
	SSL_set_msg_callback(ssl_, onTlsMessage);
	SSL_set_msg_callback_arg(ssl_, this);
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
	/* OpenSSL continues inside one call as long as there is input. */
	if (taken == 0 || keyUpdates_ > kKeyUpdates)
		return 0;
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

/* Sends encrypted bytes; returns true when all were sent. A carrier pulls instead. */
bool Session::writeOut()
{
	if (streamSession != nullptr || fd_ < 0) {
		if (streamSession != nullptr && !out_.empty())
			streamSession->resume(this);
		return out_.size() < outHigh();
	}
	while (!out_.empty()) {
		if (out_.sendTo(fd_) < 0) {
			if (errno == EINTR)
				continue;
			if (errno == EAGAIN) {
				blocked_ = true;
				return false;
			}
			sendFailed(errno);
			return false;
		}
	}
	blocked_ = false;
	return true;
}

/* A peer that sends its last bytes and closes answers later data with RST, which sending detects
 * first. */
void Session::sendFailed(int error)
{
	out_.reset();
	if (state == State::Handshaking) {
		kill(SessionEnd::TlsFailed, error, strerror(error));
		return;
	}
	blocked_ = true;
	sendError_ = error;
	readable_ = true;
	readLater();
}

void Session::readLater(uint32_t delayMs)
{
	if (!readDue_)
		engine.schedule(delayMs, id, TimerKind::Read);
	readDue_ = true;
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
	size_t produced = 0;
	std::vector<uint8_t> &gather = engine.gather;
	gather.clear();
	while (http != nullptr && state != State::Dead) {
		if (out_.size() >= outHigh() && !writeOut())
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
	if (state != State::Dead)
		checkIdle();
}

void Session::input(const uint8_t *bytes, size_t length)
{
	lastInputAt_ = engine.nowMs();
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
			if (keyUpdates_ > kKeyUpdates) {
				kill(SessionEnd::TlsFailed, 0,
				     "the peer changes its TLS keys without end");
				return;
			}
			if (got <= 0) {
				problem = SSL_get_error(ssl_, got);
				break;
			}
			filled += static_cast<size_t>(got);
		}
		if (filled > 0) {
			engine.inputDepth++;
			ssize_t used = nghttp2_session_mem_recv2(http, plain, filled);
			engine.sendChunks();
			engine.inputDepth--;
			markDirty();
			if (used < 0) {
				flush();
				kill(SessionEnd::Http2Failed, static_cast<int>(used),
				     used == NGHTTP2_ERR_CALLBACK_FAILURE
					 ? protocolError
					 : nghttp2_strerror(static_cast<int>(used)));
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

void Session::readSocket()
{
	uint64_t began = 0;
	while (readable_ && state != State::Dead && state != State::Undecided) {
		if (!inputEnded_ && !held->admits()) {
			/* The answer to our PING may wait in the socket. */
			lastInputAt_ = engine.nowMs();
			readLater(kNoRoomMs);
			if (!waits_)
				engine.emit(EventType::SessionWaits, id);
			waits_ = true;
			return;
		}
		/* At its limit it changes often: that is one event. */
		if (waits_ && held->holdsLittle())
			waits_ = false;
		uint64_t before = Engine::preciseUs();
		if (began == 0)
			began = before;
		if (before - began >= kReadTurnUs) {
			readLater();
			return;
		}
		size_t room = readSize_;
		if (HeldBytes::free() == 0)
			room = std::min(room, kReadWithoutRoom);
		ssize_t got = recv(fd_, engine.cipherScratch, room, 0);
		if (got > 0) {
			if (static_cast<size_t>(got) < room && !inputEnded_ && sendError_ == 0)
				readable_ = false;
			input(engine.cipherScratch, static_cast<size_t>(got));
			if (Engine::preciseUs() - before > kSlowReadUs)
				readSize_ = std::max(room / 2, kSmallestRead);
			else if (static_cast<size_t>(got) == room)
				readSize_ = std::min(room * 2, Engine::kScratch);
		} else if (got == 0) {
			readable_ = false;
			peerClosed();
		} else if (errno != EINTR) {
			int error = errno == EAGAIN ? sendError_ : errno;
			readable_ = false;
			if (error == 0)
				return;
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
		beginHandshake();
		handshakeLater();
	}
	if (state == State::Dead)
		return;
	if (blocked_ && sendError_ == 0 && (events & EPOLLOUT) && writeOut())
		markDirty();
	if (readable_ && !readDue_ && state != State::Dead)
		readSoon();
}

void Session::readSoon()
{
	if (state == State::Handshaking)
		handshakeLater();
	else
		readSocket();
}

} // namespace kmesh::tunnel
