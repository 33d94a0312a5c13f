/*
 * The tunnel's byte engine: one thread and one epoll instance for all proxied bytes. It
 * makes no decisions. Accepted sockets and CONNECT requests become events; TypeScript answers them
 * with commands (ambient contract 6, 7), and with plans for similar ones.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>
#include <sys/uio.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "bytes.h"
#include "events.h"
#include "flow.h"
#include "handshakes.h"
#include "lingering.h"
#include "plans.h"
#include "session.h"
#include "socket.h"

namespace kmesh::tunnel
{

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
	/* Timeout for a receiver that takes no data after the other end has gone. */
	uint32_t stallMs = 300000;
	uint32_t mark = 0;
	bool keepalive = true;
	uint32_t keepaliveTimeS = 180;
	uint32_t keepaliveIntervalS = 180;
	uint32_t keepaliveRetries = 9;
	uint32_t userTimeoutMs = 0;
	/* The map `handoffs`, as the engine's own descriptor; -1: none. */
	int handoffTable = -1;
	/* Likewise for `picks`. */
	int pickTable = -1;
};

enum class TimerKind : int {
	/* For flows. */
	FlowConnect,
	FlowEnding,
	/* Of a listener. */
	Listener,
	/* For sessions. */
	SessionConnect,
	Handshake,
	Ping,
	Pong,
	Goaway,
	Drain,
	Expiry,
	Read,
	/* Of a nested session that leaves. */
	Leave,
	/* With the stream's id. */
	Stream,
	/* Of a lingering socket. */
	Lingering,
};

class Engine
{
      public:
	explicit Engine(const EngineConfig &config);
	~Engine();

	/* Callable from any thread. */
	bool start();
	void post(std::function<void()> command);
	void post(std::vector<std::function<void()>> commands);
	void stop();
	std::vector<EventBatch> take();
	std::function<void()> notify;

	/* Engine thread only. */
	/* Events of this turn, each reported by announce(). TypeScript is
	 * woken once per turn of the loop; a batch of lazy events alone may wait a little longer.
	 */
	EventBatch events;
	KnownTexts knownTexts;
	Plans plans;
	/* Reports admitted connections to TypeScript, soon. */
	void announceAdmitted();
	/* Requests admitted by plans in this turn; they are connected outside of nghttp2's
	 * callbacks. */
	std::vector<std::pair<uint64_t, std::shared_ptr<const Plan>>> admittedRequests;
	void announce(bool lazy = false);
	void emit(EventType type, uint64_t id, std::initializer_list<double> values = {});
	/* Limit of descriptors for new connections; the rest is reserved for other uses. */
	int descriptorCeiling;
	bool descriptorsLeft() const;
	bool watch(int fd, Pollable *pollable, uint32_t events);
	void rewatch(int fd, Pollable *pollable, uint32_t events);
	void unwatch(int fd);
	void schedule(uint32_t delayMs, uint64_t id, TimerKind kind, int32_t stream = 0);
	/* Start of this turn. */
	uint64_t nowMs() const
	{
		return now_;
	}
	static uint64_t preciseUs();
	uint64_t nextId()
	{
		return id_ += 2;
	}
	int openSocket(const ConnectSpec &spec, int *error, bool *sourceKept);
	int enterNamespace(uint64_t id);
	uint32_t portRange(uint64_t id);
	uint16_t choosePort(uint64_t namespaceId, const SocketAddress &source);
	void prepareSocket(int fd);
	/* For a socket whose peer is in the same pod. */
	void prepareWithinPod(int fd);
	void bury(Flow *flow);
	void bury(Session *session);
	void later(Flow *flow, FlowEnd reason, int code);
	void pumpLater(Flow *flow);
	Flow *flow(uint64_t id);
	Session *session(uint64_t id);
	/* Reports all open flows, or only young ones. */
	void reportBytes(bool all);
	/* Registers a flow that opens now. */
	void opened(const Flow &flow);

	const EngineConfig config;
	std::unordered_map<uint64_t, std::unique_ptr<Flow>> flows;
	std::unordered_map<uint64_t, std::unique_ptr<Session>> sessions;
	std::unordered_map<uint64_t, std::unique_ptr<Listener>> listeners;
	std::unordered_map<uint64_t, int> namespaces;
	std::unordered_map<uint64_t, uint32_t> portRanges;
	/* Addresses and ports of clients with open plaintext connections. */
	std::unordered_map<uint64_t, int> clients;
	LingeringSockets lingering{*this};
	/* What flows between two sockets hold. */
	const std::shared_ptr<HeldBytes> plainHeld = std::make_shared<HeldBytes>();
	Handshakes handshakes{*this};
	std::vector<Session *> dirtySessions;
	std::vector<std::unique_ptr<Listener>> buriedListeners;
	/* Data chunks of one flow from HTTP/2, to be written to the flow's socket together. */
	struct {
		Flow *flow = nullptr;
		iovec parts[16];
		size_t count = 0;
	} chunks;
	/* Call it while the memory of the chunks is valid. */
	void sendChunks();
	uint8_t *cipherScratch;
	uint8_t *plainScratch[2];
	std::vector<uint8_t> gather;
	std::vector<int32_t> references;
	nghttp2_session_callbacks *callbacks = nullptr;
	nghttp2_option *options = nullptr;
	int inputDepth = 0;

	static constexpr size_t kScratch = 256 << 10;

      private:
	/* How long the end of a connection may wait for more urgent events, and the beginning of
	 * one for its end. */
	static constexpr uint64_t kLazyMs = 8;

	static void *threadMain(void *self);
	void run();
	void runCommands();
	void runTimers();
	void runDirty();
	void runAdmitted();
	int timeout() const;
	void forgetGrown();
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
	/* Connect timeouts are nearly always equal, so a queue is in order. */
	std::deque<std::pair<uint64_t, uint64_t>> connectTimers_;
	struct Timer {
		uint64_t id;
		TimerKind kind;
		int32_t stream;
	};
	std::multimap<uint64_t, Timer> timers_;
	std::vector<std::unique_ptr<Flow>> buriedFlows_;
	std::vector<std::unique_ptr<Session>> buriedSessions_;
	struct Late {
		uint64_t flow;
		FlowEnd reason;
		int code;
	};
	std::vector<Late> late_;
	std::vector<uint64_t> pumpQueue_;
	/* Flows by opening time; the regular report covers older ones. */
	std::deque<std::pair<uint64_t, uint64_t>> young_;
};

} // namespace kmesh::tunnel
