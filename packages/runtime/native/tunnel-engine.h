/*
 * The tunnel's byte engine: one thread, one epoll, everything that touches proxied bytes. It
 * decides nothing. Accepted sockets and CONNECT requests become events; TypeScript answers them
 * with commands (ambient contract 6, 7).
 */
#pragma once

#include <atomic>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tunnel-events.h"
#include "tunnel-nghttp2.h"

namespace kmesh::tunnel
{

class Engine;
class Joins;
class Session;
struct Joined;

/* Numbers shared with packages/tunnel/src/engine/events.ts. */
enum class CloseReason : int {
	Complete = 0,
	ConnectFailed = 1,
	ConnectTimeout = 2,
	HttpStatus = 3,
	Retry = 4,
	Reset = 5,
	Aborted = 6,
	SessionLost = 7,
	SetupFailed = 8,
};

enum class SessionEnd : int {
	Closed = 0,
	ConnectFailed = 1,
	ConnectTimeout = 2,
	TlsFailed = 3,
	Http2Failed = 4,
	PingTimeout = 5,
	Aborted = 6,
	SetupFailed = 7,
	CarrierFailed = 8,
};

/* Descriptors of the maps of bpf/passthrough; -1: nothing is joined. */
struct JoinMaps {
	int peers = -1, places = -1, joins = -1, wakes = -1;
};

struct EngineConfig {
	uint32_t streamWindow = 4 << 20;
	uint32_t connectionWindow = 16 << 20;
	uint32_t frameSize = 1 << 20;
	uint32_t clientHeaderList = 16 << 10;
	uint32_t serverHeaderList = 64 << 10;
	uint32_t serverStreams = 200;
	uint32_t pingIntervalMs = 10000;
	uint32_t pingTimeoutMs = 20000;
	uint32_t handshakeTimeoutMs = 10000;
	uint32_t mark = 0;
	bool keepalive = true;
	uint32_t keepaliveTimeS = 180;
	uint32_t keepaliveIntervalS = 180;
	uint32_t keepaliveRetries = 9;
	uint32_t userTimeoutMs = 0;
	/* The map `handoffs`, the engine's own descriptor; -1: none. */
	int handoffTable = -1;
	/* The engine's own descriptors. */
	JoinMaps joinMaps;
	/* A connection that went back and forth so often with small messages is an exchange that
	 * lasts. To join it costs what some seventy requests save. */
	uint32_t joinTurns = 512;
};

/* A byte queue with a cheap front. */
class ByteQueue
{
      public:
	bool empty() const
	{
		return offset_ == bytes_.size();
	}
	size_t size() const
	{
		return bytes_.size() - offset_;
	}
	const uint8_t *data() const
	{
		return bytes_.data() + offset_;
	}
	void append(const uint8_t *from, size_t length)
	{
		/* Doubling a large queue would hold twice what flow control allows. */
		size_t need = bytes_.size() + length;
		if (need > bytes_.capacity() && bytes_.capacity() >= kStep)
			bytes_.reserve(
			    need > bytes_.capacity() + kStep ? need : bytes_.capacity() + kStep);
		bytes_.insert(bytes_.end(), from, from + length);
	}
	void consume(size_t length)
	{
		offset_ += length;
		if (offset_ == bytes_.size()) {
			bytes_.clear();
			offset_ = 0;
			if (bytes_.capacity() > kKeep)
				std::vector<uint8_t>().swap(bytes_);
		} else if (offset_ > kKeep && offset_ * 2 > bytes_.size()) {
			bytes_.erase(bytes_.begin(),
				     bytes_.begin() + static_cast<ptrdiff_t>(offset_));
			offset_ = 0;
		}
	}
	void release()
	{
		std::vector<uint8_t>().swap(bytes_);
		offset_ = 0;
	}
	void swap(ByteQueue &other)
	{
		bytes_.swap(other.bytes_);
		std::swap(offset_, other.offset_);
	}
	void reset()
	{
		bytes_.clear();
		offset_ = 0;
	}

      private:
	static constexpr size_t kKeep = 32 << 10;
	static constexpr size_t kStep = 512 << 10;
	std::vector<uint8_t> bytes_;
	size_t offset_ = 0;
};

struct SocketAddress {
	sockaddr_storage storage{};
	socklen_t length = 0;
	int family() const
	{
		return storage.ss_family;
	}
	/* IPv4 and IPv6 have it in the same place. */
	void setPort(uint16_t port)
	{
		reinterpret_cast<sockaddr_in &>(storage).sin_port = htons(port);
	}
};

bool parseAddress(const std::string &text, uint16_t port, SocketAddress *out);
void formatAddress(const sockaddr_storage &from, std::string *address, uint16_t *port);

/* Something that epoll can report on. */
class Pollable
{
      public:
	virtual ~Pollable() = default;
	virtual void onEvents(uint32_t events) = 0;
};

/* How an outgoing socket is made. */
struct ConnectSpec {
	uint64_t namespaceId = 0;
	SocketAddress target;
	SocketAddress source; /* length 0: any of the pod's */
	bool sourceRequired = false;
	bool keepalive = true; /* not towards the pod's own application */
	uint32_t timeoutMs = 10000;
};

/* Whoever is behind an HTTP/2 stream: a flow, or a session nested in the stream. */
class StreamUser
{
      public:
	virtual ~StreamUser() = default;
	virtual void streamResponse(int status, const std::string &baggage, bool end) = 0;
	virtual void streamData(const uint8_t *bytes, size_t length) = 0;
	virtual void streamEnd() = 0;
	/* The stream is gone; `session` must not be touched afterwards through this stream. */
	virtual void streamClosed(uint32_t code, bool sessionLost) = 0;
	virtual ssize_t streamPull(uint8_t *into, size_t length, uint32_t *flags) = 0;

	Session *streamSession = nullptr;
	int32_t streamId = -1;
	bool streamDeferred = false;
	/* Received bytes that do not count as consumed yet: what flow control holds back. */
	size_t streamUnconsumed = 0;
	/* Response headers while they arrive. */
	int responseStatus = 0;
	std::string responseBaggage;
	size_t headerBytes = 0;
};

struct RequestHeaders {
	std::string method, authority;
	std::vector<std::string> fields;
};

/* One proxied connection: a near end (accepted socket or served stream) and a far end (socket or
 * requested stream). */
class Flow final : public StreamUser
{
      public:
	enum class State { Pending, Connecting, Requesting, Open, Closed };

	struct Socket final : public Pollable {
		Flow *flow = nullptr;
		int fd = -1;
		bool readable = false, writable = false, peerEnded = false, failed = false;
		void onEvents(uint32_t events) override
		{
			flow->socketEvents(*this, events);
		}
	};
	struct Direction {
		ByteQueue pending;
		bool sourceEnded = false;
		bool sinkEnded = false;
		uint64_t bytes = 0;
	};

	Flow(Engine &engine, uint64_t id);
	~Flow() override;

	/* Of an accepted socket, in Engine::clients; 0: none. */
	uint64_t clientKey = 0;

	void adoptNear(int fd);
	/* Fields are names and values in turn, parted by NUL. */
	void connect(const ConnectSpec &spec, const std::string &prefix, std::string responseFields,
		     int failStatus);
	void request(Session *session, std::string_view fields, bool reportOpen);
	void respond(int status, std::string_view fields, bool end);
	void abort();
	void reject(int status);
	void fail(CloseReason reason, int code, const std::string &text = {});
	void connectTimedOut();
	void pump();

	void streamResponse(int status, const std::string &baggage, bool end) override;
	void streamData(const uint8_t *bytes, size_t length) override;
	void streamEnd() override;
	void streamClosed(uint32_t code, bool sessionLost) override;
	ssize_t streamPull(uint8_t *into, size_t length, uint32_t *flags) override;

	/* Flows of all engines that may still ask for their far socket. */
	static std::atomic<int> undecided;
	/* The highest number that any of their sockets ever had. */
	static std::atomic<int> highestDescriptor;

	Engine &engine;
	const uint64_t id;
	State state = State::Pending;
	Socket sockets[2]; /* 0 near, 1 far; fd -1 where the end is the stream */
	int streamSide = -1;
	Direction directions[2]; /* 0 near to far, 1 far to near */
	std::unique_ptr<RequestHeaders> requestHeaders;
	bool queued = false;
	/* Of a flow whose sockets are joined in the kernel. */
	std::unique_ptr<Joined> joined;

	/* What a direction has moved, whoever moved it. */
	uint64_t bytesOf(int direction) const;

      private:
	void socketEvents(Socket &socket, uint32_t events);
	void askConnected(const ConnectSpec &spec);
	void finishConnect(bool failed);
	void open();
	bool flushPending(int direction);
	bool maySend(int direction);
	void countTurn(int direction, size_t length);
	void join();
	void pumpSockets(int direction);
	void finishIfDone();
	void close(CloseReason reason, int code, const std::string &text, bool reset);
	void decided();

	bool undecided_ = true;
	std::string responseFields_;
	int failStatus_ = 0;
	bool reportOpen_ = false;
	bool streamDone_ = false;
	/* Turns of small messages, which tell an exchange from bulk. */
	uint32_t turns_ = 0;
	int lastDirection_ = -1;
};

/* One mTLS HTTP/2 connection, served or requested, over a socket or over a stream of another
 * session. */
class Session final : public StreamUser, public Pollable
{
      public:
	enum class State { Undecided, Connecting, Handshaking, Settling, Open, Dead };

	Session(Engine &engine, uint64_t id, bool server);
	~Session() override;

	void adopt(int fd);
	void accept(SSL_CTX *context, const std::string &trustDomain);
	void connect(const ConnectSpec &spec, SSL_CTX *context,
		     std::vector<std::string> identities);
	void nest(Session *carrier, std::string_view fields, SSL_CTX *context,
		  std::vector<std::string> identities);
	void drain();
	void kill(SessionEnd end, int code, const std::string &text);

	int32_t submitRequest(StreamUser *user, std::string_view fields);
	void resume(StreamUser *user);
	void consumed(StreamUser *user, size_t length);
	void resetStream(StreamUser *user, uint32_t code);
	/* Forgets a stream that was answered in full; the peer has a moment to end it itself. */
	void leaveStream(StreamUser *user);
	void markDirty();
	void flush();
	void timer(int kind);
	bool acceptsStreams() const
	{
		return state == State::Open && !draining_;
	}
	/* Verification of the peer's leaf against what the session expects; called inside the
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
	void streamGone();
	size_t takeInput(uint8_t *into, size_t length);
	void putOutput(const uint8_t *bytes, size_t length);

	Engine &engine;
	const uint64_t id;
	const bool server;
	State state = State::Undecided;
	nghttp2_session *http = nullptr;
	bool dirty = false;
	bool lateGoawayDue = false;
	std::unordered_set<StreamUser *> users;
	int verifyError = 0;
	std::string protocolError;

      private:
	void startTls(SSL_CTX *context);
	void handshake();
	void startHttp();
	void readSocket();
	void input(const uint8_t *bytes, size_t length);
	void encrypt(const uint8_t *bytes, size_t length);
	bool writeOut();
	void sendOut();
	void checkIdle();
	void peerClosed();
	void emitReady();

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
	uint32_t openStreams_ = 0;
	bool draining_ = false, goawaySent_ = false, settingsSeen_ = false;
	bool drainWhenReady_ = false;
	uint64_t pingSentAt_ = 0;
};

struct Listener final : public Pollable {
	Engine *engine = nullptr;
	uint64_t id = 0;
	int fd = -1;
	bool tunnel = false; /* accepted sockets speak HBONE */
	bool paused = false;
	uint64_t netnsCookie = 0; /* known where connections may be handed over */
	void onEvents(uint32_t events) override;
	void acceptAll();
	void forgetTransparent();
	void pause(int error);
	void resume();
};

enum TimerKind : int {
	kTimerConnect = 0,
	kTimerHandshake = 1,
	kTimerPing = 2,
	kTimerPong = 3,
	kTimerGoaway = 4,
	kTimerListener = 5,
	kTimerDrain = 6,
	/* Plus the stream's id. */
	kTimerStream = 1000,
};

class Engine
{
      public:
	explicit Engine(const EngineConfig &config);
	~Engine();

	/* Any thread. */
	bool start();
	void post(std::function<void()> command);
	void post(std::vector<std::function<void()>> commands);
	void stop();
	std::vector<EventBatch> take();
	std::function<void()> notify;

	/* Engine thread only. */
	/* Where the events of this turn are written, each told by announce(). TypeScript is woken
	 * once per turn of the loop; a lazy event alone may wait a little longer. */
	EventBatch events;
	KnownTexts knownTexts;
	void announce(bool lazy = false);
	void emit(EventType type, uint64_t id, std::initializer_list<double> values = {});
	/* How many descriptors new connections may take; the rest is for everything else. */
	int descriptorCeiling;
	bool descriptorsLeft() const;
	bool watch(int fd, Pollable *pollable, uint32_t events);
	void rewatch(int fd, Pollable *pollable, uint32_t events);
	void unwatch(int fd);
	void schedule(uint32_t delayMs, uint64_t id, int kind);
	uint64_t nowMs() const
	{
		return now_;
	}
	uint64_t nextId()
	{
		return id_ += 2;
	}
	int openSocket(const ConnectSpec &spec, int *error, bool *sourceKept);
	int enterNamespace(uint64_t id);
	uint32_t portRange(uint64_t id);
	uint16_t choosePort(uint64_t namespaceId, const SocketAddress &source);
	void prepareSocket(int fd);
	void bury(Flow *flow);
	void bury(Session *session);
	void later(Flow *flow, CloseReason reason, int code);
	void pumpLater(Flow *flow);
	Flow *flow(uint64_t id);
	Session *session(uint64_t id);
	void reportBytes();

	const EngineConfig config;
	std::unordered_map<uint64_t, std::unique_ptr<Flow>> flows;
	std::unordered_map<uint64_t, std::unique_ptr<Session>> sessions;
	std::unordered_map<uint64_t, std::unique_ptr<Listener>> listeners;
	std::unordered_map<uint64_t, int> namespaces;
	std::unordered_map<uint64_t, uint32_t> portRanges;
	/* Addresses and ports of the clients whose plaintext connections are open. */
	std::unordered_map<uint64_t, int> clients;
	std::vector<Session *> dirtySessions;
	std::vector<std::unique_ptr<Listener>> buriedListeners;
	uint8_t *cipherScratch;
	uint8_t *plainScratch[2];
	ByteQueue spareOut;
	std::vector<uint8_t> gather;
	std::vector<int32_t> references;
	nghttp2_session_callbacks *callbacks = nullptr;
	nghttp2_option *options = nullptr;
	int inputDepth = 0;
	/* Absent where nothing is joined. */
	std::unique_ptr<Joins> joins;

	static constexpr size_t kScratch = 256 << 10;

      private:
	static void *threadMain(void *self);
	void run();
	void runCommands();
	void runTimers();
	void runDirty();
	int timeout() const;
	void wakeHandlers();

	int epoll_ = -1, wake_ = -1, ownNamespace_ = -1;
	uint64_t currentNamespace_ = 0;
	uint64_t now_ = 0;
	uint64_t id_ = 1;
	bool started_ = false;
	bool stopping_ = false;
	pthread_t thread_{};
	std::mutex commandMutex_;
	std::vector<std::function<void()>> commands_;
	std::mutex eventMutex_;
	std::vector<EventBatch> published_;
	bool notified_ = false;
	uint64_t random_ = 0x9e3779b97f4a7c15ull;
	bool urgent_ = false;
	uint64_t lazySince_ = 0;
	/* Connect timeouts are nearly always equal, so a queue keeps them in order. */
	std::deque<std::pair<uint64_t, uint64_t>> connectTimers_;
	std::multimap<uint64_t, std::pair<uint64_t, int>> timers_;
	std::vector<std::unique_ptr<Flow>> buriedFlows_;
	std::vector<std::unique_ptr<Session>> buriedSessions_;
	struct Late {
		uint64_t flow;
		CloseReason reason;
		int code;
	};
	std::vector<Late> late_;
	std::vector<uint64_t> pumpQueue_;
};

/* tunnel-handoff.cc */
uint64_t netnsCookieOf(int fd);
/* Where a connection wanted to go that the connect hook sent to this listener; each is told once.
 */
bool takeHandoff(int table, uint64_t netnsCookie, const sockaddr_storage &peer,
		 const sockaddr_storage &local, sockaddr_storage *original);

/* tunnel-tls.cc */
struct TlsOptions {
	std::string certificatePem, keyPem, rootsPem;
	std::vector<std::string> crls;
	bool server = false, tls12 = false, postQuantumOnly = false;
};
SSL_CTX *createTlsContext(const TlsOptions &options, std::string *error);
bool chainRevoked(const std::vector<std::string> &chain, const std::vector<std::string> &lists);
std::vector<std::string> uriNames(X509 *certificate);
std::string tlsErrorText();
BIO_METHOD *sessionBioMethod();

/* tunnel-http2.cc: header fields without copies of their own. */
constexpr size_t kMaximumFields = 16;
nghttp2_nv fieldOf(std::string_view name, std::string_view value);
/* Reads names and values in turn, parted by NUL; returns how many fields there are. */
size_t readFields(std::string_view joined, nghttp2_nv *into, size_t room);
nghttp2_session_callbacks *createHttpCallbacks();
nghttp2_option *createHttpOptions();

} // namespace kmesh::tunnel
