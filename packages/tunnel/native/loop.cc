/* The engine's thread: epoll, timers, commands from TypeScript, and the order of work in a turn of
 * the loop. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "engine.h"
#include "http2.h"

namespace kmesh::tunnel
{

uint64_t Engine::preciseUs()
{
	timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return static_cast<uint64_t>(time.tv_sec) * 1000000 +
	       static_cast<uint64_t>(time.tv_nsec) / 1000;
}

static uint64_t monotonicMs()
{
	timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return static_cast<uint64_t>(time.tv_sec) * 1000 +
	       static_cast<uint64_t>(time.tv_nsec) / 1000000;
}

Engine::Engine(const EngineConfig &given) : config(given)
{
	cipherScratch = static_cast<uint8_t *>(malloc(kScratch));
	plainScratch[0] = static_cast<uint8_t *>(malloc(kScratch));
	plainScratch[1] = static_cast<uint8_t *>(malloc(kScratch));
	callbacks = createHttpCallbacks();
	options = createHttpOptions();
	now_ = monotonicMs();
	random_ ^= now_ ^ reinterpret_cast<uintptr_t>(this);
	rlimit limit{};
	getrlimit(RLIMIT_NOFILE, &limit);
	rlim_t reserve = std::min<rlim_t>(4096, std::max<rlim_t>(32, limit.rlim_cur / 16));
	descriptorCeiling = static_cast<int>(std::min<rlim_t>(limit.rlim_cur - reserve, INT32_MAX));
}

Engine::~Engine()
{
	stop();
	free(cipherScratch);
	free(plainScratch[0]);
	free(plainScratch[1]);
	if (epoll_ >= 0)
		::close(epoll_);
	if (wake_ >= 0)
		::close(wake_);
	if (ownNamespace_ >= 0)
		::close(ownNamespace_);
	if (config.handoffTable >= 0)
		::close(config.handoffTable);
	if (config.pickTable >= 0)
		::close(config.pickTable);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(options);
}

bool Engine::start()
{
	epoll_ = epoll_create1(EPOLL_CLOEXEC);
	wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ownNamespace_ = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (epoll_ < 0 || wake_ < 0)
		return false;
	epoll_event event{};
	event.events = EPOLLIN;
	event.data.ptr = nullptr;
	if (epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0)
		return false;
	started_ = pthread_create(&thread_, nullptr, threadMain, this) == 0;
	return started_;
}

void Engine::post(std::function<void()> command)
{
	bool first;
	{
		std::lock_guard<std::mutex> lock(commandMutex_);
		first = commands_.empty();
		commands_.push_back(std::move(command));
	}
	if (first) {
		uint64_t one = 1;
		ssize_t ignored = write(wake_, &one, sizeof one);
		(void)ignored;
	}
}

void Engine::post(std::vector<std::function<void()>> commands)
{
	bool first;
	{
		std::lock_guard<std::mutex> lock(commandMutex_);
		first = commands_.empty();
		for (auto &command : commands)
			commands_.push_back(std::move(command));
	}
	if (first) {
		uint64_t one = 1;
		ssize_t ignored = write(wake_, &one, sizeof one);
		(void)ignored;
	}
}

void Engine::stop()
{
	if (!started_)
		return;
	post([this] { stopping_ = true; });
	pthread_join(thread_, nullptr);
	started_ = false;
}

/* The kernel assigns the lowest free descriptor: if none was high, few are in use. Otherwise
 * they are counted, which takes microseconds. */
bool Engine::descriptorsLeft() const
{
	if (Flow::highestDescriptor + Flow::undecided < descriptorCeiling)
		return true;
	struct stat table {
	};
	/* The size is the number of open descriptors, since Linux 6.2. */
	if (stat("/proc/self/fd", &table) != 0 || table.st_size == 0)
		return true;
	return table.st_size + Flow::undecided + 1 < descriptorCeiling;
}

bool Engine::watch(int fd, Pollable *pollable, uint32_t events)
{
	epoll_event event{};
	event.events = events;
	event.data.ptr = pollable;
	return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
}

void Engine::rewatch(int fd, Pollable *pollable, uint32_t events)
{
	epoll_event event{};
	event.events = events;
	event.data.ptr = pollable;
	epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void Engine::unwatch(int fd)
{
	epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

void Engine::schedule(uint32_t delayMs, uint64_t id, TimerKind kind, int32_t stream)
{
	uint64_t due = now_ + delayMs;
	if (kind == TimerKind::FlowConnect &&
	    (connectTimers_.empty() || connectTimers_.back().first <= due)) {
		connectTimers_.emplace_back(due, id);
		return;
	}
	timers_.emplace(due, Timer{id, kind, stream});
}

void Engine::bury(Flow *flow)
{
	auto found = flows.find(flow->id);
	if (found == flows.end())
		return;
	buriedFlows_.push_back(std::move(found->second));
	flows.erase(found);
}

void Engine::bury(Session *session)
{
	auto found = sessions.find(session->id);
	if (found == sessions.end())
		return;
	/* A turn may end before everything dirty was flushed; the next one must not find the
	 * session.
	 */
	std::erase(dirtySessions, session);
	buriedSessions_.push_back(std::move(found->second));
	sessions.erase(found);
}

void Engine::later(Flow *flow, FlowEnd reason, int code)
{
	late_.push_back({flow->id, reason, code});
}

void Engine::pumpLater(Flow *flow)
{
	if (flow->queued)
		return;
	flow->queued = true;
	pumpQueue_.push_back(flow->id);
}

Flow *Engine::flow(uint64_t id)
{
	auto found = flows.find(id);
	return found == flows.end() ? nullptr : found->second.get();
}

Session *Engine::session(uint64_t id)
{
	auto found = sessions.find(id);
	return found == sessions.end() ? nullptr : found->second.get();
}

/* The thread belongs to the engine, so it stays in the last namespace: most sockets need no
 * switch. */
int Engine::enterNamespace(uint64_t id)
{
	if (id == currentNamespace_)
		return 0;
	int fd = ownNamespace_;
	if (id != 0) {
		auto found = namespaces.find(id);
		if (found == namespaces.end())
			return ENONET;
		fd = found->second;
	}
	if (setns(fd, CLONE_NEWNET) != 0)
		return errno;
	currentNamespace_ = id;
	return 0;
}

/* struct sched_attr of linux/sched/types.h, which is incomplete in older headers. */
struct ScheduleAttributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t utilizationMinimum, utilizationMaximum;
};

static constexpr uint64_t kSliceNs = 100000;

/* A turn takes microseconds, but would wait a thousand times as long for the time slices of others,
 * such as the threads that collect garbage after a scrape. The thread's share of the CPU is the
 * same. Requires Linux 6.12; earlier kernels ignore it. */
static void requestShortSlices()
{
	ScheduleAttributes attributes{};
	if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0)
		return;
	attributes.size = sizeof attributes;
	attributes.runtime = kSliceNs;
	syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void *Engine::threadMain(void *self)
{
	requestShortSlices();
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, nullptr);
	pthread_setname_np(pthread_self(), "kmesh-tunnel");
	static_cast<Engine *>(self)->run();
	return nullptr;
}

void Engine::runCommands()
{
	std::vector<std::function<void()>> batch;
	{
		std::lock_guard<std::mutex> lock(commandMutex_);
		batch.swap(commands_);
	}
	for (auto &command : batch)
		command();
}

void Engine::runAdmitted()
{
	auto requests = std::move(admittedRequests);
	admittedRequests.clear();
	for (auto &[id, plan] : requests) {
		if (Flow *found = flow(id))
			found->connect(plan->spec, {}, plan->responseFields, plan->failStatus);
	}
}

void Engine::runTimers()
{
	while (!connectTimers_.empty() && connectTimers_.front().first <= now_) {
		uint64_t id = connectTimers_.front().second;
		connectTimers_.pop_front();
		if (Flow *found = flow(id))
			found->connectTimedOut();
	}
	/* Timers that these schedule, even without a delay, are for the next turn. */
	auto end = timers_.upper_bound(now_);
	std::vector<Timer> due;
	for (auto at = timers_.begin(); at != end; at++)
		due.push_back(at->second);
	timers_.erase(timers_.begin(), end);
	for (const Timer &timer : due) {
		switch (timer.kind) {
		case TimerKind::FlowConnect:
			if (Flow *found = flow(timer.id))
				found->connectTimedOut();
			break;
		case TimerKind::FlowEnding:
			if (Flow *found = flow(timer.id))
				found->timer();
			break;
		case TimerKind::Listener: {
			auto found = listeners.find(timer.id);
			if (found != listeners.end())
				found->second->resume();
			break;
		}
		case TimerKind::Lingering:
			lingering.look(timer.id);
			break;
		default:
			if (Session *found = session(timer.id))
				found->timer(timer.kind, timer.stream);
		}
	}
}

/* Flushes sessions once per turn, so that all streams of a session share one record and one
 * system call. */
void Engine::runDirty()
{
	for (int rounds = 0; rounds < 4 && (!dirtySessions.empty() || !late_.empty()); rounds++) {
		std::vector<Session *> batch;
		batch.swap(dirtySessions);
		for (Session *session : batch) {
			session->dirty = false;
			if (session->state != Session::State::Dead)
				session->flush();
		}
		std::vector<Late> failures;
		failures.swap(late_);
		for (const Late &failure : failures) {
			if (Flow *found = flow(failure.flow))
				found->fail(failure.reason, failure.code);
		}
	}
}

int Engine::timeout() const
{
	if (!pumpQueue_.empty() || !dirtySessions.empty() || !late_.empty() ||
	    !admittedRequests.empty() || handshakes.any())
		return 0;
	uint64_t due = UINT64_MAX;
	if (!timers_.empty())
		due = timers_.begin()->first;
	if (!connectTimers_.empty() && connectTimers_.front().first < due)
		due = connectTimers_.front().first;
	if (lazySince_ != 0 && lazySince_ - 1 + kLazyMs < due)
		due = lazySince_ - 1 + kLazyMs;
	if (due == UINT64_MAX)
		return -1;
	return due <= now_ ? 0 : static_cast<int>(due - now_);
}

void Engine::run()
{
	epoll_event ready[256];
	while (!stopping_) {
		int count = epoll_wait(epoll_, ready, 256, timeout());
		now_ = monotonicMs();
		for (int index = 0; index < count; index++) {
			if (ready[index].data.ptr == nullptr) {
				uint64_t drained;
				ssize_t ignored = read(wake_, &drained, sizeof drained);
				(void)ignored;
				continue;
			}
			static_cast<Pollable *>(ready[index].data.ptr)
			    ->onEvents(ready[index].events);
		}
		runCommands();
		runTimers();
		handshakes.run();
		std::vector<uint64_t> queue;
		queue.swap(pumpQueue_);
		for (uint64_t id : queue) {
			if (Flow *found = flow(id)) {
				found->queued = false;
				found->pump();
			}
		}
		runAdmitted();
		runDirty();
		wakeHandlers();
		buriedFlows_.clear();
		buriedSessions_.clear();
		buriedListeners.clear();
		lingering.endTurn();
	}
	/* Sessions first: closing them ends the flows on their streams. */
	while (!sessions.empty())
		sessions.begin()->second->kill(SessionEnd::Aborted, 0, "the engine stopped");
	while (!flows.empty())
		flows.begin()->second->abort();
	buriedFlows_.clear();
	buriedSessions_.clear();
	lingering.closeAll();
	dirtySessions.clear();
	for (auto &[id, listener] : listeners)
		::close(listener->fd);
	listeners.clear();
	for (auto &[id, fd] : namespaces)
		::close(fd);
	namespaces.clear();
}

} // namespace kmesh::tunnel
