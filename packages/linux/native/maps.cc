// Maps: entries, batches, memory, and waiting for programs that may still read old entries.
#include "environment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

static Napi::Value pin(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_obj_pin(int_at(info, 0), string_at(info, 1).c_str()));
}

static Napi::Value open_pinned(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_obj_get(string_at(info, 0).c_str()));
}

static Napi::Value map_create(const Napi::CallbackInfo &info)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = uint_at(info, 5));

	return result_of(info, bpf_map_create(static_cast<enum bpf_map_type>(int_at(info, 0)),
					      string_at(info, 1).c_str(), uint_at(info, 2),
					      uint_at(info, 3), uint_at(info, 4), &options));
}

static Napi::Value map_info(const Napi::CallbackInfo &info)
{
	struct bpf_map_info kernel = {};
	uint32_t length = sizeof(kernel);

	if (bpf_map_get_info_by_fd(int_at(info, 0), &kernel, &length) != 0)
		return number(info, -errno);
	auto result = Napi::Object::New(info.Env());
	result.Set("id", kernel.id);
	result.Set("type", kernel.type);
	result.Set("keySize", kernel.key_size);
	result.Set("valueSize", kernel.value_size);
	result.Set("maxEntries", kernel.max_entries);
	result.Set("flags", kernel.map_flags);
	result.Set("name", static_cast<const char *>(kernel.name));
	return result;
}

static Napi::Value map_lookup(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_map_lookup_elem_flags(int_at(info, 0), bytes_at(info, 1).data,
							 bytes_at(info, 2).data, uint_at(info, 3)));
}

static Napi::Value map_update(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_map_update_elem(int_at(info, 0), bytes_at(info, 1).data,
						   bytes_at(info, 2).data, uint_at(info, 3)));
}

static Napi::Value map_take(const Napi::CallbackInfo &info)
{
	return result_of(info,
			 bpf_map_lookup_and_delete_elem(int_at(info, 0), bytes_at(info, 1).data,
							bytes_at(info, 2).data));
}

static Napi::Value map_delete(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_map_delete_elem(int_at(info, 0), bytes_at(info, 1).data));
}

static Napi::Value batch_result(const Napi::CallbackInfo &info, uint32_t count, int error)
{
	auto result = Napi::Object::New(info.Env());

	result.Set("count", count);
	result.Set("errno", error);
	return result;
}

// Errno values of kernels or map types without batch operations.
static bool batch_unsupported(int error)
{
	return error == EINVAL || error == EOPNOTSUPP || error == ENOTSUP || error == 524;
}

static Napi::Value map_update_batch(const Napi::CallbackInfo &info)
{
	int fd = int_at(info, 0);
	uint8_t *keys = bytes_at(info, 1).data;
	uint8_t *values = bytes_at(info, 2).data;
	uint32_t count = uint_at(info, 3);
	size_t key_size = uint_at(info, 4);
	size_t value_size = uint_at(info, 5);
	uint64_t flags = uint_at(info, 6);
	uint32_t done = count;

	if (count == 0)
		return batch_result(info, 0, 0);
	LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = flags);
	if (bpf_map_update_batch(fd, keys, values, &done, &options) == 0)
		return batch_result(info, count, 0);
	int error = errno;
	if (error == EFAULT || done >= count)
		done = 0;
	if (!batch_unsupported(error) || done != 0)
		return batch_result(info, done, error);
	for (; done < count; done++) {
		if (bpf_map_update_elem(fd, keys + done * key_size, values + done * value_size,
					flags) != 0)
			return batch_result(info, done, errno);
	}
	return batch_result(info, done, 0);
}

static Napi::Value map_delete_batch(const Napi::CallbackInfo &info)
{
	int fd = int_at(info, 0);
	uint8_t *keys = bytes_at(info, 1).data;
	uint32_t count = uint_at(info, 2);
	size_t key_size = uint_at(info, 3);
	uint32_t position = 0;
	uint32_t removed = 0;
	bool batches = true;

	LIBBPF_OPTS(bpf_map_batch_opts, options);
	// A batch ends at the first missing key; the rest is a new batch.
	while (position < count) {
		if (batches) {
			uint32_t done = count - position;
			int result =
			    bpf_map_delete_batch(fd, keys + position * key_size, &done, &options);
			if (result == 0) {
				removed += count - position;
				break;
			}
			if (errno == ENOENT && done < count - position) {
				removed += done;
				position += done + 1;
				continue;
			}
			if (!batch_unsupported(errno))
				return batch_result(info, removed, errno);
			batches = false;
		}
		if (bpf_map_delete_elem(fd, keys + position * key_size) == 0)
			removed++;
		else if (errno != ENOENT)
			return batch_result(info, removed, errno);
		position++;
	}
	return batch_result(info, removed, 0);
}

// Reads with one call per entry if there are no batch operations; the cursor is then the last key.
static Napi::Value read_single(const Napi::CallbackInfo &info, int fd, uint8_t *cursor,
			       uint8_t *next, uint8_t *keys, uint8_t *values, uint32_t count,
			       size_t key_size, size_t value_size)
{
	std::vector<uint8_t> position(key_size);
	uint8_t *last = nullptr;
	uint32_t done = 0;

	if (cursor != nullptr) {
		memcpy(position.data(), cursor, key_size);
		last = position.data();
	}
	while (done < count) {
		uint8_t *key = keys + done * key_size;
		if (bpf_map_get_next_key(fd, last, key) != 0)
			return batch_result(info, done, errno);
		memcpy(position.data(), key, key_size);
		last = position.data();
		// Skips an entry that was deleted meanwhile.
		if (bpf_map_lookup_elem(fd, key, values + done * value_size) == 0)
			done++;
		else if (errno != ENOENT)
			return batch_result(info, done, errno);
	}
	memcpy(next, position.data(), key_size);
	return batch_result(info, done, 0);
}

static Napi::Value map_read_batch(const Napi::CallbackInfo &info)
{
	int fd = int_at(info, 0);
	uint8_t *cursor = info[1].IsUndefined() ? nullptr : bytes_at(info, 1).data;
	uint8_t *next = bytes_at(info, 2).data;
	uint8_t *keys = bytes_at(info, 3).data;
	uint8_t *values = bytes_at(info, 4).data;
	uint32_t count = uint_at(info, 5);
	uint32_t done = count;

	LIBBPF_OPTS(bpf_map_batch_opts, options);
	int result = bpf_map_lookup_batch(fd, cursor, next, keys, values, &done, &options);
	if (result == 0)
		return batch_result(info, done, 0);
	if (batch_unsupported(errno))
		return read_single(info, fd, cursor, next, keys, values, count, uint_at(info, 6),
				   uint_at(info, 7));
	int error = errno;
	return batch_result(info, error == ENOENT ? done : 0, error);
}

static Napi::Value possible_cpus(const Napi::CallbackInfo &info)
{
	int count = libbpf_num_possible_cpus();

	return number(info, count < 1 ? 1 : count);
}

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

// The finalizer above runs when the buffer is collected, which may be late: this releases the pages
// now, and the finalizer only the address range.
static Napi::Value map_unmap(const Napi::CallbackInfo &info)
{
	auto buffer = info[0].As<Napi::ArrayBuffer>();
	void *memory = buffer.Data();
	size_t length = buffer.ByteLength();

	buffer.Detach();
	void *reserved = mmap(memory, length, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	return number(info, reserved == MAP_FAILED ? -errno : 0);
}

// An update of a map-in-map returns after an RCU grace period, because programs may hold the
// replaced inner map.
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

// Runs only the fallback, for its test.
static Napi::Value kernel_barrier_by_map(const Napi::CallbackInfo &info)
{
	return number(info, barrier_by_map());
}

void register_maps(Napi::Env env, Napi::Object exports)
{
	define<pin>(env, exports, "pin");
	define<open_pinned>(env, exports, "openPinned");
	define<map_create>(env, exports, "mapCreate");
	define<map_info>(env, exports, "mapInfo");
	define<map_lookup>(env, exports, "mapLookup");
	define<map_update>(env, exports, "mapUpdate");
	define<map_delete>(env, exports, "mapDelete");
	define<map_take>(env, exports, "mapTake");
	define<map_update_batch>(env, exports, "mapUpdateBatch");
	define<map_delete_batch>(env, exports, "mapDeleteBatch");
	define<map_read_batch>(env, exports, "mapReadBatch");
	define<possible_cpus>(env, exports, "possibleCpus");
	define<map_mmap>(env, exports, "mapMmap");
	define<map_unmap>(env, exports, "mapUnmap");
	define<kernel_barrier>(env, exports, "kernelBarrier");
	define<kernel_barrier_by_map>(env, exports, "kernelBarrierByMap");
}
