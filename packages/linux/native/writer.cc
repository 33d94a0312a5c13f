// Writes text to a descriptor on a thread, so that a slow reader blocks nothing else.
#include "environment.h"

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <poll.h>
#include <pthread.h>
#include <string>
#include <thread>
#include <unistd.h>

struct Piece {
	std::string text;
	uint32_t lines;
};

// Also held by the thread: it may be in a write that outlives all other holders.
struct Writer {
	explicit Writer(int descriptor) : descriptor(descriptor)
	{
	}

	~Writer()
	{
		close(descriptor);
	}

	// A duplicate.
	int descriptor;
	std::mutex mutex;
	std::condition_variable changed;
	std::deque<Piece> pieces;
	// Lines that are not written yet.
	uint32_t queued = 0;
	bool stopping = false;
};

using Shared = std::shared_ptr<Writer>;

// Ignores a reader that has gone.
static void write_all(int descriptor, const std::string &text)
{
	for (size_t done = 0; done < text.size();) {
		ssize_t written = write(descriptor, text.data() + done, text.size() - done);
		if (written >= 0) {
			done += static_cast<size_t>(written);
		} else if (errno == EAGAIN) {
			struct pollfd waiting = {descriptor, POLLOUT, 0};
			poll(&waiting, 1, -1);
		} else if (errno != EINTR) {
			return;
		}
	}
}

static void run(const Shared &writer)
{
	std::unique_lock<std::mutex> lock(writer->mutex);

	for (;;) {
		writer->changed.wait(
		    lock, [&writer] { return writer->stopping || !writer->pieces.empty(); });
		if (writer->pieces.empty())
			return;
		Piece piece = std::move(writer->pieces.front());
		writer->pieces.pop_front();
		lock.unlock();
		write_all(writer->descriptor, piece.text);
		lock.lock();
		writer->queued -= piece.lines;
		writer->changed.notify_all();
	}
}

static Shared &writer_at(const Napi::CallbackInfo &info)
{
	return *info[0].As<Napi::External<Shared>>().Data();
}

// (descriptor, name) → a writer, or a negated errno.
static Napi::Value writer_open(const Napi::CallbackInfo &info)
{
	int descriptor = fcntl(int_at(info, 0), F_DUPFD_CLOEXEC, 0);

	if (descriptor < 0)
		return number(info, -errno);
	auto *writer = new Shared(std::make_shared<Writer>(descriptor));
	std::thread thread(run, *writer);
	pthread_setname_np(thread.native_handle(), string_at(info, 1).c_str());
	thread.detach();
	return Napi::External<Shared>::New(info.Env(), writer, [](Napi::Env, Shared *collected) {
		{
			std::lock_guard<std::mutex> lock((*collected)->mutex);
			(*collected)->stopping = true;
			(*collected)->changed.notify_all();
		}
		delete collected;
	});
}

static Napi::Value writer_put(const Napi::CallbackInfo &info)
{
	Shared &writer = writer_at(info);
	Piece piece = {string_at(info, 1), uint_at(info, 2)};
	std::lock_guard<std::mutex> lock(writer->mutex);

	writer->queued += piece.lines;
	writer->pieces.push_back(std::move(piece));
	writer->changed.notify_all();
	return info.Env().Undefined();
}

static Napi::Value writer_queued(const Napi::CallbackInfo &info)
{
	Shared &writer = writer_at(info);
	std::lock_guard<std::mutex> lock(writer->mutex);

	return number(info, writer->queued);
}

// (writer, milliseconds) → whether everything was written in this time; blocks until then.
static Napi::Value writer_wait(const Napi::CallbackInfo &info)
{
	Shared &writer = writer_at(info);
	std::unique_lock<std::mutex> lock(writer->mutex);

	bool written = writer->changed.wait_for(lock, std::chrono::milliseconds(uint_at(info, 1)),
						[&writer] { return writer->queued == 0; });
	return Napi::Boolean::New(info.Env(), written);
}

void register_writer(Napi::Env env, Napi::Object exports)
{
	define<writer_open>(env, exports, "writerOpen");
	define<writer_put>(env, exports, "writerPut");
	define<writer_queued>(env, exports, "writerQueued");
	define<writer_wait>(env, exports, "writerWait");
}
