// Links, attachments without links, and information about programs and links.
#include "environment.h"
#include "namespace_scope.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

static enum bpf_attach_type attach_type_at(const Napi::CallbackInfo &info, size_t index)
{
	return static_cast<enum bpf_attach_type>(int_at(info, index));
}

// For tcx, the target is an interface index, which is valid only inside the namespace.
static Napi::Value link_create(const Napi::CallbackInfo &info)
{
	NamespaceScope inside(int_at(info, 3));

	if (inside.error() != 0)
		return number(info, -inside.error());
	LIBBPF_OPTS(bpf_link_create_opts, options);
	return result_of(info, bpf_link_create(int_at(info, 0), int_at(info, 1),
					       attach_type_at(info, 2), &options));
}

static Napi::Value link_update(const Napi::CallbackInfo &info)
{
	LIBBPF_OPTS(bpf_link_update_opts, options);

	return result_of(info, bpf_link_update(int_at(info, 0), int_at(info, 1), &options));
}

static Napi::Value link_detach(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_link_detach(int_at(info, 0)));
}

static Napi::Value link_info(const Napi::CallbackInfo &info)
{
	struct bpf_link_info kernel = {};
	uint32_t length = sizeof(kernel);

	if (bpf_link_get_info_by_fd(int_at(info, 0), &kernel, &length) != 0)
		return number(info, -errno);
	auto result = Napi::Object::New(info.Env());
	result.Set("id", kernel.id);
	result.Set("type", kernel.type);
	result.Set("programId", kernel.prog_id);
	if (kernel.type == BPF_LINK_TYPE_TCX)
		result.Set("interfaceIndex", kernel.tcx.ifindex);
	return result;
}

static Napi::Value program_info(const Napi::CallbackInfo &info)
{
	struct bpf_prog_info kernel = {};
	uint32_t length = sizeof(kernel);

	if (bpf_prog_get_info_by_fd(int_at(info, 0), &kernel, &length) != 0)
		return number(info, -errno);
	auto result = Napi::Object::New(info.Env());
	result.Set("id", kernel.id);
	result.Set("type", kernel.type);
	result.Set("name", static_cast<const char *>(kernel.name));
	result.Set("runTimeNs",
		   Napi::BigInt::New(info.Env(), static_cast<uint64_t>(kernel.run_time_ns)));
	result.Set("runCount",
		   Napi::BigInt::New(info.Env(), static_cast<uint64_t>(kernel.run_cnt)));
	result.Set("verifiedInstructions", kernel.verified_insns);
	result.Set("translatedBytes", kernel.xlated_prog_len);
	result.Set("machineCodeBytes", kernel.jited_prog_len);
	return result;
}

// Returns the translated program and the starts of its functions: pairs of an instruction's index
// and a BTF type.
static Napi::Value program_code(const Napi::CallbackInfo &info)
{
	struct bpf_prog_info kernel = {};
	uint32_t length = sizeof(kernel);

	if (bpf_prog_get_info_by_fd(int_at(info, 0), &kernel, &length) != 0)
		return number(info, -errno);
	const uint32_t size = kernel.xlated_prog_len, count = kernel.nr_func_info;
	auto instructions = Napi::Uint8Array::New(info.Env(), size);
	auto functions = Napi::Uint32Array::New(info.Env(), count * size_t{2});
	kernel = {};
	kernel.xlated_prog_insns = reinterpret_cast<uintptr_t>(instructions.Data());
	kernel.xlated_prog_len = size;
	kernel.func_info = reinterpret_cast<uintptr_t>(functions.Data());
	kernel.func_info_rec_size = sizeof(struct bpf_func_info);
	kernel.nr_func_info = count;
	if (bpf_prog_get_info_by_fd(int_at(info, 0), &kernel, &length) != 0)
		return number(info, -errno);
	auto result = Napi::Object::New(info.Env());
	result.Set("instructions", instructions);
	result.Set("functions", functions);
	return result;
}

static Napi::Value program_query(const Napi::CallbackInfo &info)
{
	NamespaceScope inside(int_at(info, 2));
	std::vector<uint32_t> ids(64);

	if (inside.error() != 0)
		return number(info, -inside.error());
	for (;;) {
		LIBBPF_OPTS(bpf_prog_query_opts, options, .prog_ids = ids.data(),
			    .prog_cnt = static_cast<uint32_t>(ids.size()));
		if (bpf_prog_query_opts(int_at(info, 0), attach_type_at(info, 1), &options) == 0) {
			ids.resize(options.prog_cnt);
			break;
		}
		if (errno != ENOSPC)
			return number(info, -errno);
		ids.resize(ids.size() * 2);
	}
	auto list = Napi::Array::New(info.Env(), ids.size());
	for (size_t i = 0; i < ids.size(); i++)
		list.Set(static_cast<uint32_t>(i), ids[i]);
	return list;
}

// Returns the ids of the tcx links at an interface.
static Napi::Value interface_links(const Napi::CallbackInfo &info)
{
	NamespaceScope inside(int_at(info, 2));
	std::vector<uint32_t> programs(64), links(64);

	if (inside.error() != 0)
		return number(info, -inside.error());
	LIBBPF_OPTS(bpf_prog_query_opts, options, .prog_ids = programs.data(),
		    .prog_cnt = static_cast<uint32_t>(programs.size()), .link_ids = links.data());
	if (bpf_prog_query_opts(int_at(info, 0), attach_type_at(info, 1), &options) != 0)
		return number(info, -errno);
	auto list = Napi::Array::New(info.Env(), options.prog_cnt);
	for (uint32_t i = 0; i < options.prog_cnt; i++)
		list.Set(i, links[i]);
	return list;
}

static Napi::Value program_open(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_prog_get_fd_by_id(uint_at(info, 0)));
}

static Napi::Value map_open(const Napi::CallbackInfo &info)
{
	return result_of(info, bpf_map_get_fd_by_id(uint_at(info, 0)));
}

// Returns the ids of the maps that a program uses.
static Napi::Value program_maps(const Napi::CallbackInfo &info)
{
	struct bpf_prog_info kernel = {};
	uint32_t length = sizeof(kernel);

	if (bpf_prog_get_info_by_fd(int_at(info, 0), &kernel, &length) != 0)
		return number(info, -errno);
	std::vector<uint32_t> ids(kernel.nr_map_ids);
	kernel = {};
	kernel.map_ids = reinterpret_cast<uintptr_t>(ids.data());
	kernel.nr_map_ids = static_cast<uint32_t>(ids.size());
	if (bpf_prog_get_info_by_fd(int_at(info, 0), &kernel, &length) != 0)
		return number(info, -errno);
	auto list = Napi::Array::New(info.Env(), ids.size());
	for (size_t i = 0; i < ids.size(); i++)
		list.Set(static_cast<uint32_t>(i), ids[i]);
	return list;
}

static Napi::Value program_test_run(const Napi::CallbackInfo &info)
{
	Bytes data = bytes_at(info, 1);

	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = data.data,
		    .data_size_in = static_cast<uint32_t>(data.length), .repeat = int_at(info, 2));
	if (data.length == 0)
		options.data_in = nullptr;
	// A signal interrupts a long run; it is then restarted.
	int failed;
	do
		failed = bpf_prog_test_run_opts(int_at(info, 0), &options);
	while (failed != 0 && errno == EINTR);
	if (failed != 0)
		return number(info, -errno);
	auto result = Napi::Object::New(info.Env());
	result.Set("result", options.retval);
	result.Set("durationNs", options.duration);
	return result;
}

// Runs a program of type BPF_PROG_TYPE_SYSCALL on a thread of libuv's pool.
class RunWorker : public Napi::AsyncWorker
{
      public:
	// Duplicates the descriptor: its owner may close it before the thread runs.
	RunWorker(Napi::Env env, int program, Bytes context)
	    : AsyncWorker(env, "kmesh:program-run"), deferred(Napi::Promise::Deferred::New(env)),
	      program_(fcntl(program, F_DUPFD_CLOEXEC, 3)), failed_(program_ < 0 ? errno : 0),
	      context_(context.data, context.data + context.length)
	{
	}
	~RunWorker() override
	{
		if (program_ >= 0)
			close(program_);
	}

	Napi::Promise::Deferred deferred;

	void Execute() override
	{
		LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = context_.data(),
			    .ctx_size_in = static_cast<uint32_t>(context_.size()));
		if (failed_ == 0 && bpf_prog_test_run_opts(program_, &options) != 0)
			failed_ = errno;
	}

	void OnOK() override
	{
		if (!can_run(Env()))
			return;
		if (failed_ != 0)
			deferred.Resolve(Napi::Number::New(Env(), -failed_));
		else
			deferred.Resolve(
			    Napi::Buffer<uint8_t>::Copy(Env(), context_.data(), context_.size()));
	}

      private:
	int program_;
	int failed_;
	std::vector<uint8_t> context_;
};

static Napi::Value program_run(const Napi::CallbackInfo &info)
{
	auto *worker = new RunWorker(info.Env(), int_at(info, 0), bytes_at(info, 1));

	worker->Queue();
	return worker->deferred.Promise();
}

static Napi::Value statistics_open(const Napi::CallbackInfo &info)
{
	int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);

	if (fd >= 0)
		Environment::of(info.Env()).descriptors.insert(fd);
	return result_of(info, fd);
}

void register_programs(Napi::Env env, Napi::Object exports)
{
	define<link_create>(env, exports, "linkCreate");
	define<link_update>(env, exports, "linkUpdate");
	define<link_detach>(env, exports, "linkDetach");
	define<link_info>(env, exports, "linkInfo");
	define<program_info>(env, exports, "programInfo");
	define<program_code>(env, exports, "programCode");
	define<program_query>(env, exports, "programQuery");
	define<interface_links>(env, exports, "interfaceLinks");
	define<program_open>(env, exports, "programOpen");
	define<program_maps>(env, exports, "programMaps");
	define<map_open>(env, exports, "mapOpen");
	define<program_test_run>(env, exports, "programTestRun");
	define<program_run>(env, exports, "programRun");
	define<statistics_open>(env, exports, "statisticsOpen");
}
