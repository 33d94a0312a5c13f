// Waits for running BPF programs, on a worker thread.
#include "environment.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

// An update of a map-in-map returns only after a grace period, since programs may hold the replaced
// inner map.
static int barrier_by_map()
{
	uint32_t key = 0;
	int result = -1;
	int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "barrier_inner", 4, 4, 1, nullptr);

	if (inner < 0)
		return -errno;
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = static_cast<uint32_t>(inner));
	int outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "barrier_outer", 4, 4, 1, &options);
	if (outer >= 0)
		result = bpf_map_update_elem(outer, &key, &inner, BPF_ANY);
	int error = errno;
	if (outer >= 0)
		close(outer);
	close(inner);
	return result == 0 ? 0 : -error;
}

class BarrierWorker : public Napi::AsyncWorker
{
      public:
	explicit BarrierWorker(Napi::Env env)
	    : AsyncWorker(env, "kmesh:barrier"), deferred(Napi::Promise::Deferred::New(env))
	{
	}

	Napi::Promise::Deferred deferred;

	void Execute() override
	{
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0)
			result_ = barrier_by_map();
	}

	void OnOK() override
	{
		if (can_run(Env()))
			deferred.Resolve(Napi::Number::New(Env(), result_));
	}

      private:
	int result_ = 0;
};

static Napi::Value kernel_barrier(const Napi::CallbackInfo &info)
{
	auto *worker = new BarrierWorker(info.Env());

	worker->Queue();
	return worker->deferred.Promise();
}

// The other way alone, so that a test can show that it works where it is not needed.
static Napi::Value kernel_barrier_by_map(const Napi::CallbackInfo &info)
{
	return number(info, barrier_by_map());
}

void register_barrier(Napi::Env env, Napi::Object exports)
{
	define<kernel_barrier>(env, exports, "kernelBarrier");
	define<kernel_barrier_by_map>(env, exports, "kernelBarrierByMap");
}
