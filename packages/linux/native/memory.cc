// Releases memory that the process does not need: free memory of the C library, pages of the
// executable.
#include "environment.h"

#include <cstdint>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

// Otherwise every thread would free into its own arena, and the threshold for returning memory to
// the kernel would grow with the size of freed blocks.
static void limit_allocator()
{
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

static int release_object(dl_phdr_info *object, size_t, void *)
{
	const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));

	for (int index = 0; index < object->dlpi_phnum; index++) {
		const auto &segment = object->dlpi_phdr[index];

		// Writable pages may differ from the file.
		if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0)
			continue;
		uintptr_t begin = (object->dlpi_addr + segment.p_vaddr + page - 1) & ~(page - 1);
		uintptr_t end =
		    (object->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(page - 1);
		if (begin >= end)
			continue;
		// Otherwise one page fault maps two megabytes.
		madvise(reinterpret_cast<void *>(begin), end - begin, MADV_NOHUGEPAGE);
		madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
	}
	return 0;
}

// Pages of code and constants are mapped again from the page cache on their next use.
static Napi::Value release_memory(const Napi::CallbackInfo &info)
{
	malloc_trim(0);
	dl_iterate_phdr(release_object, nullptr);
	return info.Env().Undefined();
}

class TrimWorker : public Napi::AsyncWorker
{
      public:
	explicit TrimWorker(Napi::Env env)
	    : AsyncWorker(env, "kmesh:trim"), deferred(Napi::Promise::Deferred::New(env))
	{
	}

	Napi::Promise::Deferred deferred;

	void Execute() override
	{
		malloc_trim(0);
	}

	void OnOK() override
	{
		if (can_run(Env()))
			deferred.Resolve(Env().Undefined());
	}
};

static Napi::Value trim_allocator(const Napi::CallbackInfo &info)
{
	auto *worker = new TrimWorker(info.Env());

	worker->Queue();
	return worker->deferred.Promise();
}

void register_memory(Napi::Env env, Napi::Object exports)
{
	limit_allocator();
	define<release_memory>(env, exports, "releaseMemory");
	define<trim_allocator>(env, exports, "trimAllocator");
}
