// State of one JavaScript environment (the main thread or a worker), and helpers of all files.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <unordered_set>

struct Environment {
	// Descriptors that objects of this environment own; closed when it ends.
	std::unordered_set<int> descriptors;
	// Called at the end of the environment, before its objects are freed.
	std::unordered_map<void *, std::function<void()>> stoppers;
	// Which step of the last socketOpen failed, see sockets.cc.
	int failed_step = 0;

	static Environment &of(Napi::Env env);
};

// Every file registers its functions with one of these.
void register_descriptors(Napi::Env env, Napi::Object exports);
void register_privileges(Napi::Env env, Napi::Object exports);
void register_system_calls(Napi::Env env, Napi::Object exports);
void register_object(Napi::Env env, Napi::Object exports);
void register_maps(Napi::Env env, Napi::Object exports);
void register_programs(Napi::Env env, Napi::Object exports);
void register_filters(Napi::Env env, Napi::Object exports);
void register_interfaces(Napi::Env env, Napi::Object exports);
void register_ring(Napi::Env env, Napi::Object exports);
void register_writer(Napi::Env env, Napi::Object exports);
void register_memory(Napi::Env env, Napi::Object exports);
void register_scheduling(Napi::Env env, Napi::Object exports);
void register_probes(Napi::Env env, Napi::Object exports);
void register_namespaces(Napi::Env env, Napi::Object exports);
void register_sockets(Napi::Env env, Napi::Object exports);
void register_tcp_sockets(Napi::Env env, Napi::Object exports);
void register_datagrams(Napi::Env env, Napi::Object exports);
void register_seqpacket(Napi::Env env, Napi::Object exports);

using NativeFunction = Napi::Value (*)(const Napi::CallbackInfo &);

// Adds a function to the exports; the callback is a template argument, so that a call costs no
// lookup.
template <NativeFunction function>
void define(Napi::Env env, Napi::Object exports, const char *name)
{
	exports.Set(name, Napi::Function::New<function>(env, name));
}

// Aborts the process on an argument that no caller in src/ passes.
[[noreturn]] void broken_contract(const char *what);

// Whether JavaScript can run; false while a worker is being terminated.
bool can_run(Napi::Env env);

// Turns a pending exception of a callback from the event loop into an uncaught exception.
void report_exception(Napi::Env env);

inline int int_at(const Napi::CallbackInfo &info, size_t index)
{
	return info[index].As<Napi::Number>().Int32Value();
}

inline uint32_t uint_at(const Napi::CallbackInfo &info, size_t index)
{
	return info[index].As<Napi::Number>().Uint32Value();
}

struct Bytes {
	uint8_t *data;
	size_t length;
};

// Returns the memory of a Uint8Array argument. Uses the C interface, which creates no handles for
// the array's properties.
Bytes bytes_at(const Napi::CallbackInfo &info, size_t index);

std::string string_at(const Napi::CallbackInfo &info, size_t index);

inline Napi::Value number(const Napi::CallbackInfo &info, int64_t value)
{
	return Napi::Number::New(info.Env(), static_cast<double>(value));
}

// Converts the result of a system call: negated errno on failure.
Napi::Value result_of(const Napi::CallbackInfo &info, int result);
