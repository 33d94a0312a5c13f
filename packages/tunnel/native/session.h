/* One mTLS HTTP/2 connection. */
#pragma once

#include <openssl/ssl.h>
#include <stdint.h>

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "bytes.h"
#include "handshakes.h"
#include "kinds.h"
#include <nghttp2/nghttp2.h>
#include "socket.h"
#include "stream.h"

namespace kmesh::tunnel
{

class Flow;
enum class TimerKind : int;

/* One mTLS HTTP/2 connection, served or requested, over a socket or over a stream of another
 * session. */
class Session final : public StreamUser, public Pollable
{
      public:
	enum class State { Undecided, Connecting, Handshaking, Settling, Open, Dead };

	Session(Engine &engine, uint64_t id, bool server);
	~Session() override;

	void adopt(int fd);
	/* Who the handshake of a session over a socket is for; set it first. */
	HandshakeOwner handshakeOwner;
	void continueHandshake();
	void accept(SSL_CTX *context, const std::string &trustDomain);
	void connect(const ConnectSpec &spec, SSL_CTX *context,
		     std::vector<std::string> identities);
	void nest(Session *carrier, std::string_view fields, SSL_CTX *context,
		  std::vector<std::string> identities);
	void drain();
	void kill(SessionEnd end, int code, const std::string &text);

	int32_t submitRequest(StreamUser *user, std::string_view fields);
	void resume(StreamUser *user);
	void received(StreamUser *user, size_t length);
	void consumed(StreamUser *user, size_t length);
	/* Releases the connection's window that a stream's unread bytes still hold. */
	void release(StreamUser *user);
	void resetStream(StreamUser *user, uint32_t code);
	/* Detaches a fully answered stream; the peer has a moment to end it itself. */
	void leaveStream(StreamUser *user);
	void markDirty();
	void flush();
	void timer(TimerKind kind, int32_t stream);
	bool acceptsStreams() const
	{
		return state == State::Open && !draining_ && !hasExpired();
	}
	/* Whether a certificate that proved one of the two identities has expired. Streams that are
	 * open go on; no other begins. */
	bool hasExpired() const;
	/* Takes the session out of use once it has expired. */
	void expire();
	uint32_t openStreams() const
	{
		return openStreams_;
	}
	/* Verifies the peer's leaf against the expected identities; called during the
	 * handshake. */
	bool acceptsPeer(const std::vector<std::string> &peerIdentities) const;

	void onEvents(uint32_t events) override;
	void streamResponse(int status, const std::string &baggage, bool end) override;
	void streamData(const uint8_t *bytes, size_t length) override;
	void streamEnd() override;
	void streamClosed(uint32_t code, bool sessionLost) override;
	ssize_t streamPull(uint8_t *into, size_t length, uint32_t *flags) override;

	/* Used by the nghttp2 and BIO callbacks. */
	void beginRequest(int32_t stream);
	void gotRequest(Flow *flow, bool end);
	void gotSettings();
	void gotGoaway();
	void gotPong();
	bool awaitsPong() const
	{
		return pingSentAt_ != 0;
	}
	/* Counts a frame without content; returns false when there have been too many. */
	bool gotEmptyFrame();
	/* Adds to the allowance of frames without content, for a frame that was sent or received.
	 */
	void earnEmptyFrames(uint32_t count);
	void streamGone(int32_t stream);
	size_t takeInput(uint8_t *into, size_t length);
	void putOutput(const uint8_t *bytes, size_t length);

	Engine &engine;
	const uint64_t id;
	const bool server;
	State state = State::Undecided;
	/* What its streams have not delivered, also after it has ended. A nested session shares
	 * that of its carrier, whose socket is read for both. What it has not sent does not count:
	 * two proxies that stopped reading for it would wait for each other. */
	std::shared_ptr<HeldBytes> held = std::make_shared<HeldBytes>();
	nghttp2_session *http = nullptr;
	bool dirty = false;
	bool lateGoawayDue = false;
	std::unordered_set<StreamUser *> users;
	int verifyError = 0;
	/* Called for each KeyUpdate message of the peer. */
	void gotKeyUpdate();
	std::string protocolError;

      private:
	static constexpr size_t kFirstRead = 16 << 10;
	/* More encrypted bytes than these wait in HTTP/2. */
	static constexpr size_t kOutHigh = 256 << 10;
	static constexpr size_t kOutHighWithoutRoom = 32 << 10;

	void forget(StreamUser *user);
	void withdrawUnsent();
	void readLater(uint32_t delayMs = 0);
	size_t outHigh() const
	{
		return held->admits() ? kOutHigh : kOutHighWithoutRoom;
	}
	void sendFailed(int error);
	void beginHandshake();
	void handshakeLater();
	void startTls();
	void handshake();
	void startHttp();
	void readSoon();
	void readSocket();
	void input(const uint8_t *bytes, size_t length);
	void encrypt(const uint8_t *bytes, size_t length);
	bool writeOut();
	void sendOut();
	void checkIdle();
	void peerClosed();
	void emitReady();
	void watchExpiry();
	void emitClosed(SessionEnd end, int code, const std::string &text);
	void leaveStep();
	void leaveCarrier();
	void carrierLeft();

	int fd_ = -1;
	SSL *ssl_ = nullptr;
	bool readable_ = false, writable_ = false, blocked_ = false;
	bool carrierOpen_ = false, inputEnded_ = false;
	ByteQueue out_;
	const uint8_t *in_ = nullptr;
	size_t inLength_ = 0;
	std::string trustDomain_;
	std::vector<std::string> identities_;
	std::shared_ptr<SSL_CTX> context_;
	/* End of validity of both chains, in seconds since 1970. */
	int64_t validUntil_ = INT64_MAX;
	int64_t expiryNoticeMs_ = 0;
	uint32_t openStreams_ = 0;
	/* Received bytes for which the peer has not got the connection's window back. */
	size_t unreleased_ = 0;
	bool draining_ = false, goawaySent_ = false, settingsSeen_ = false;
	bool drainWhenReady_ = false;
	uint32_t streamLimit_ = 0;
	/* Streams that do not count as open any more. */
	std::unordered_set<int32_t> withdrawn_;
	uint64_t pingSentAt_ = 0, lastInputAt_ = 0;
	/* Read size: smaller if reads are slow, so that a turn stays short. */
	size_t readSize_ = kFirstRead;
	bool readDue_ = false;
	bool waits_ = false;
	bool handshakeDue_ = false;
	/* Error of sending; data that the peer sent before is still read. */
	int sendError_ = 0;
	uint32_t emptyFrames_ = 0;
	/* A nested session that has ended leaves once its carrier has taken the last bytes: how
	 * many there were at the last check, and since when. */
	size_t lastBytes_ = 0;
	uint64_t lastBytesSince_ = 0;
	/* Its end is reported when it has left, because it holds a stream of the carrier. */
	bool closedDue_ = false;
	uint32_t keyUpdates_ = 0;
	uint64_t keyUpdatesSince_ = 0;
};

} // namespace kmesh::tunnel
