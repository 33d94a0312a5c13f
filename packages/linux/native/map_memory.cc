// mmap-able arrays as ArrayBuffers.
#include "environment.h"

#include <cerrno>
#include <sys/mman.h>

static Napi::Value map_mmap(const Napi::CallbackInfo &info)
{
	size_t length = static_cast<size_t>(info[1].As<Napi::Number>().Int64Value());
	void *memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, int_at(info, 0),
			    static_cast<off_t>(info[2].As<Napi::Number>().Int64Value()));

	if (memory == MAP_FAILED)
		return number(info, -errno);
	return Napi::ArrayBuffer::New(
	    info.Env(), memory, length,
	    [](Napi::Env, void *data, size_t *size) {
		    munmap(data, *size);
		    delete size;
	    },
	    new size_t(length));
}

// Detaching runs the finalizer above, at the latest when the buffer is collected, and until then
// nothing can reach the memory.
static Napi::Value map_unmap(const Napi::CallbackInfo &info)
{
	info[0].As<Napi::ArrayBuffer>().Detach();
	return info.Env().Undefined();
}

void register_map_memory(Napi::Env env, Napi::Object exports)
{
	define<map_mmap>(env, exports, "mapMmap");
	define<map_unmap>(env, exports, "mapUnmap");
}
