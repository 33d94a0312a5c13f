/* The bytes of one mTLS HTTP/2 connection, in and out, over a socket or a stream of another. */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine.h"
#include "tls.h"

namespace kmesh::tunnel
{

static constexpr size_t kOutHigh = 256 << 10;
static constexpr size_t kGather = 16 << 10;
static constexpr size_t kTurn = 1 << 20;

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
