// Entry of the addon: registers the functions of every file with the environment that loads it.
#include "environment.h"

#include <bpf/libbpf.h>

#include <uv.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

Environment &Environment::of(Napi::Env env)
{
	return *env.GetInstanceData<Environment>();
}

[[noreturn]] void broken_contract(const char *what)
{
	fprintf(stderr, "kmesh-linux: %s\n", what);
	abort();
}

bool can_run(Napi::Env env)
{
	napi_value global;
	bool found;

	// Any call that may run JavaScript refuses first when it cannot.
	return napi_get_global(env, &global) == napi_ok &&
	       napi_has_named_property(env, global, "Object", &found) == napi_ok;
}

void report_exception(Napi::Env env)
{
	bool pending = false;
	napi_value error;

	if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
	    napi_get_and_clear_last_exception(env, &error) == napi_ok)
		napi_fatal_exception(env, error);
}

Bytes bytes_at(const Napi::CallbackInfo &info, size_t index)
{
	void *data = nullptr;
	size_t length = 0;
	napi_typedarray_type type;

	if (napi_get_typedarray_info(info.Env(), info[index], &type, &length, &data, nullptr,
				     nullptr) != napi_ok ||
	    type != napi_uint8_array)
		broken_contract("an argument is not a Uint8Array");
	return {static_cast<uint8_t *>(data), length};
}

std::string string_at(const Napi::CallbackInfo &info, size_t index)
{
	return info[index].As<Napi::String>().Utf8Value();
}

Napi::Value result_of(const Napi::CallbackInfo &info, int result)
{
	return number(info, result < 0 ? -errno : result);
}

static void end_environment(Environment *environment)
{
	auto stoppers = std::move(environment->stoppers);
	for (auto &[_, stop] : stoppers)
		stop();
	for (int fd : environment->descriptors)
		close(fd);
	environment->descriptors.clear();
}

static Napi::Object initialize(Napi::Env env, Napi::Object exports)
{
	// The addon embeds libuv's handle layouts.
	if (uv_version() >> 16 != UV_VERSION_MAJOR) {
		Napi::Error::New(env,
				 "libuv of this Node.js is not compatible with the addon's headers")
		    .ThrowAsJavaScriptException();
		return exports;
	}
	auto *environment = new Environment;

	env.SetInstanceData<Environment>(environment);
	env.AddCleanupHook(end_environment, environment);
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);

	register_descriptors(env, exports);
	register_privileges(env, exports);
	register_system_calls(env, exports);
	register_object(env, exports);
	register_maps(env, exports);
	register_programs(env, exports);
	register_filters(env, exports);
	register_interfaces(env, exports);
	register_ring(env, exports);
	register_writer(env, exports);
	register_memory(env, exports);
	register_scheduling(env, exports);
	register_probes(env, exports);
	register_namespaces(env, exports);
	register_sockets(env, exports);
	register_tcp_sockets(env, exports);
	register_datagrams(env, exports);
	register_seqpacket(env, exports);
	return exports;
}

NODE_API_MODULE(kmesh_linux, initialize)
