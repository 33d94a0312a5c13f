// Drains a ring buffer on a thread and passes batches to JavaScript.
#include "environment.h"
#include "ring_reader.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <fcntl.h>
#include <mutex>
#include <poll.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>
#include <vector>

struct Ring {
	Ring(int map, size_t record_size) : map(map), reader(map, record_size)
	{
	}

	~Ring()
	{
		if (map >= 0)
			close(map);
		if (wake >= 0)
			close(wake);
	}

	// A duplicate, so that the caller may close its descriptor.
	int map;
	RingReader reader;
	int wake = -1;
	uint32_t most_records = 0;
	int delay_ms = 0;
	napi_threadsafe_function deliver = nullptr;
	std::thread thread;

	std::mutex mutex;
	std::condition_variable freed;
	// Memory of JavaScript's buffers; the references keep them alive.
	std::vector<Batch> buffers;
	std::vector<Napi::Reference<Napi::ArrayBuffer>> references;
	std::vector<uint32_t> free;
	bool stopping = false;
	bool stopped = false;
	uint64_t records = 0;
	uint64_t batches = 0;
};

struct Delivery {
	uint32_t buffer;
	size_t bytes;
	uint32_t count;
};

static bool wait_for_records(Ring &ring)
{
	struct pollfd waiting[2] = {{ring.map, POLLIN, 0}, {ring.wake, POLLIN, 0}};

	while (ring.reader.pending() == 0) {
		if (poll(waiting, 2, -1) < 0 && errno != EINTR)
			return false;
		if ((waiting[1].revents & POLLIN) != 0)
			return false;
	}
	return true;
}

// Upper bound of what programs write to a ring in a millisecond.
static const size_t bytes_per_millisecond = 256 * 1024;

// Collects records until the delay is over, half of the ring is used, or the ring is closing. The
// kernel sends no wake-ups until this thread has caught up. Polls as rarely as the ring's size
// allows, because each wake-up preempts another thread.
static bool let_gather(Ring &ring)
{
	auto now = std::chrono::steady_clock::now;
	auto end = now() + std::chrono::milliseconds(ring.delay_ms);
	int64_t step = std::max<int64_t>(ring.reader.size() / 2 / bytes_per_millisecond, 1);
	struct pollfd waiting = {ring.wake, POLLIN, 0};

	while (ring.reader.pending() < ring.reader.size() / 2) {
		auto left = std::chrono::ceil<std::chrono::milliseconds>(end - now()).count();
		if (left <= 0)
			break;
		if (poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left, step))) > 0)
			return false;
	}
	return true;
}

static bool take_buffer(Ring &ring, uint32_t &index)
{
	std::unique_lock<std::mutex> lock(ring.mutex);

	ring.freed.wait(lock, [&ring] { return ring.stopping || !ring.free.empty(); });
	if (ring.stopping)
		return false;
	index = ring.free.back();
	ring.free.pop_back();
	return true;
}

static void give_back(Ring &ring, uint32_t index)
{
	std::lock_guard<std::mutex> lock(ring.mutex);

	ring.free.push_back(index);
	ring.freed.notify_one();
}

// Moves pending records into batches and delivers them. Returns false if the environment is gone.
static bool drain(Ring &ring)
{
	while (ring.reader.pending() > 0) {
		uint32_t index = 0;
		if (!take_buffer(ring, index))
			return false;
		Batch batch = {ring.buffers[index].memory, ring.buffers[index].capacity};
		ring.reader.fill(batch, ring.most_records);
		if (batch.count == 0) {
			// Only a record that a program has reserved and not submitted yet.
			give_back(ring, index);
			struct pollfd waiting = {ring.wake, POLLIN, 0};
			return poll(&waiting, 1, 1) == 0;
		}
		{
			std::lock_guard<std::mutex> lock(ring.mutex);
			ring.records += batch.count;
			ring.batches++;
		}
		auto *delivery = new Delivery{index, batch.bytes, batch.count};
		if (napi_call_threadsafe_function(ring.deliver, delivery, napi_tsfn_nonblocking) !=
		    napi_ok) {
			delete delivery;
			return false;
		}
	}
	return true;
}

static void run(Ring *ring)
{
	while (wait_for_records(*ring) && let_gather(*ring) && drain(*ring))
		;
}

static void on_delivery(napi_env env, napi_value function, void *, void *data)
{
	auto *delivery = static_cast<Delivery *>(data);

	if (env != nullptr && can_run(env)) {
		napi_value arguments[] = {
		    Napi::Number::New(env, delivery->buffer),
		    Napi::Number::New(env, static_cast<double>(delivery->bytes)),
		    Napi::Number::New(env, delivery->count)};
		napi_call_function(env, Napi::Env(env).Global(), function, 3, arguments, nullptr);
	}
	delete delivery;
}

static void stop(Ring &ring)
{
	if (ring.stopped)
		return;
	ring.stopped = true;
	{
		std::lock_guard<std::mutex> lock(ring.mutex);
		ring.stopping = true;
		ring.freed.notify_all();
	}
	eventfd_write(ring.wake, 1);
	ring.thread.join();
	napi_release_threadsafe_function(ring.deliver, napi_tsfn_abort);
	ring.references.clear();
}

static Napi::Value ring_open(const Napi::CallbackInfo &info)
{
	Napi::Env env = info.Env();
	auto *ring = new Ring(fcntl(int_at(info, 0), F_DUPFD_CLOEXEC, 0), uint_at(info, 1));
	auto buffers = info[2].As<Napi::Array>();

	int error = ring->reader.error();
	if (error == 0 && (ring->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		error = errno;
	if (error != 0) {
		delete ring;
		return number(info, -error);
	}
	for (uint32_t i = 0; i < buffers.Length(); i++) {
		auto buffer = buffers.Get(i).As<Napi::ArrayBuffer>();
		ring->references.push_back(Napi::Persistent(buffer));
		ring->buffers.push_back(
		    {static_cast<uint8_t *>(buffer.Data()), buffer.ByteLength()});
		ring->free.push_back(i);
	}
	ring->most_records = uint_at(info, 3);
	ring->delay_ms = int_at(info, 4);
	if (napi_create_threadsafe_function(
		env, info[5], nullptr, Napi::String::New(env, "kmesh:ring"), 0, 1, nullptr, nullptr,
		nullptr, on_delivery, &ring->deliver) != napi_ok)
		broken_contract("cannot create the function of an event ring");
	napi_unref_threadsafe_function(env, ring->deliver);
	ring->thread = std::thread(run, ring);
	Environment::of(env).stoppers[ring] = [ring] { stop(*ring); };
	return Napi::External<Ring>::New(env, ring, [](Napi::Env collector, Ring *collected) {
		// A stopped ring: the environment has ended and must not be used any more.
		if (!collected->stopped)
			Environment::of(collector).stoppers.erase(collected);
		stop(*collected);
		delete collected;
	});
}

static Ring &ring_at(const Napi::CallbackInfo &info)
{
	return *info[0].As<Napi::External<Ring>>().Data();
}

static Napi::Value ring_done(const Napi::CallbackInfo &info)
{
	give_back(ring_at(info), uint_at(info, 1));
	return info.Env().Undefined();
}

static Napi::Value ring_reference(const Napi::CallbackInfo &info)
{
	Ring &ring = ring_at(info);

	if (info[1].As<Napi::Boolean>().Value())
		napi_ref_threadsafe_function(info.Env(), ring.deliver);
	else
		napi_unref_threadsafe_function(info.Env(), ring.deliver);
	return info.Env().Undefined();
}

static Napi::Value ring_counters(const Napi::CallbackInfo &info)
{
	Ring &ring = ring_at(info);
	std::lock_guard<std::mutex> lock(ring.mutex);
	auto result = Napi::Object::New(info.Env());

	result.Set("records", static_cast<double>(ring.records));
	result.Set("batches", static_cast<double>(ring.batches));
	result.Set("oversized", static_cast<double>(ring.reader.misfits()));
	result.Set("pending", static_cast<double>(ring.reader.pending()));
	return result;
}

static Napi::Value ring_close(const Napi::CallbackInfo &info)
{
	Ring &ring = ring_at(info);

	Environment::of(info.Env()).stoppers.erase(&ring);
	stop(ring);
	return info.Env().Undefined();
}

void register_ring(Napi::Env env, Napi::Object exports)
{
	define<ring_open>(env, exports, "ringOpen");
	define<ring_done>(env, exports, "ringDone");
	define<ring_reference>(env, exports, "ringReference");
	define<ring_counters>(env, exports, "ringCounters");
	define<ring_close>(env, exports, "ringClose");
}
