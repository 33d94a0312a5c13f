// Probes of the running kernel.
#include "environment.h"
#include "libbpf_log.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <linux/bpf.h>
#include <unistd.h>

static Napi::Value probe_program_type(const Napi::CallbackInfo &info)
{
	LibbpfLog quiet;

	return number(info, libbpf_probe_bpf_prog_type(
				static_cast<enum bpf_prog_type>(int_at(info, 0)), nullptr));
}

static Napi::Value probe_map_type(const Napi::CallbackInfo &info)
{
	LibbpfLog quiet;

	return number(info, libbpf_probe_bpf_map_type(
				static_cast<enum bpf_map_type>(int_at(info, 0)), nullptr));
}

static Napi::Value probe_helper(const Napi::CallbackInfo &info)
{
	LibbpfLog quiet;

	return number(
	    info, libbpf_probe_bpf_helper(static_cast<enum bpf_prog_type>(int_at(info, 0)),
					  static_cast<enum bpf_func_id>(int_at(info, 1)), nullptr));
}

// Loads raw instructions; the caller owns the descriptor.
static Napi::Value probe_instructions(const Napi::CallbackInfo &info)
{
	Bytes code = bytes_at(info, 2);
	std::string log(16384, '\0');

	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = static_cast<enum bpf_attach_type>(int_at(info, 1)),
		    .log_level = 1, .log_size = static_cast<uint32_t>(log.size()),
		    .log_buf = log.data());
	int fd = bpf_prog_load(static_cast<enum bpf_prog_type>(int_at(info, 0)), "kmesh_probe",
			       "GPL", reinterpret_cast<const struct bpf_insn *>(code.data),
			       code.length / 8, &options);
	auto result = Napi::Object::New(info.Env());
	result.Set("fd", fd < 0 ? -errno : fd);
	result.Set("log", log.c_str());
	return result;
}

// Uses the batch call directly: the functions of maps.cc fall back to single calls.
static Napi::Value probe_batch(const Napi::CallbackInfo &info)
{
	uint32_t key = 1;
	uint32_t value = 1;
	uint32_t count = 1;
	int map = bpf_map_create(BPF_MAP_TYPE_HASH, "kmesh_probe", sizeof(key), sizeof(value), 1,
				 nullptr);

	if (map < 0)
		return number(info, -errno);
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	int result = bpf_map_update_batch(map, &key, &value, &count, &options);
	int error = errno;
	close(map);
	if (result == 0)
		return number(info, 1);
	return number(info, error == EINVAL ? 0 : -error);
}

void register_probes(Napi::Env env, Napi::Object exports)
{
	define<probe_program_type>(env, exports, "probeProgramType");
	define<probe_map_type>(env, exports, "probeMapType");
	define<probe_helper>(env, exports, "probeHelper");
	define<probe_batch>(env, exports, "probeBatch");
	define<probe_instructions>(env, exports, "probeInstructions");
}
