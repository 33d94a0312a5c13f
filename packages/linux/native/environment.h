// What one JavaScript environment (the main thread or a worker) owns, and helpers that every file
// uses.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <unordered_set>

struct Environment {
	// Descriptors that objects of this environment own; closed when it ends.
	std::unordered_set<int> descriptors;
	// Things that must be stopped when the environment ends, before its objects are freed.
	std::unordered_map<void *, std::function<void()>> stoppers;
	// Which step of the last socketOpen failed, see sockets.cc.
	int failed_step = 0;

	static Environment &of(Napi::Env env);
};

// Every file registers its functions with one of these.
void register_descriptors(Napi::Env env, Napi::Object exports);
void register_object(Napi::Env env, Napi::Object exports);
void register_maps(Napi::Env env, Napi::Object exports);
void register_map_memory(Napi::Env env, Napi::Object exports);
void register_programs(Napi::Env env, Napi::Object exports);
void register_filters(Napi::Env env, Napi::Object exports);
void register_interfaces(Napi::Env env, Napi::Object exports);
void register_ring(Napi::Env env, Napi::Object exports);
void register_barrier(Napi::Env env, Napi::Object exports);
void register_probes(Napi::Env env, Napi::Object exports);
void register_namespaces(Napi::Env env, Napi::Object exports);
void register_sockets(Napi::Env env, Napi::Object exports);
void register_socket_options(Napi::Env env, Napi::Object exports);
void register_reuseport(Napi::Env env, Napi::Object exports);
void register_watcher(Napi::Env env, Napi::Object exports);
void register_seqpacket(Napi::Env env, Napi::Object exports);

using NativeFunction = Napi::Value (*)(const Napi::CallbackInfo &);

// Adds a function to the exports; the callback is a template argument, so that a call costs no
// lookup.
template <NativeFunction function>
void define(Napi::Env env, Napi::Object exports, const char *name)
{
	exports.Set(name, Napi::Function::New<function>(env, name));
}

// Ends the process: only for what a caller in src/ can never do.
[[noreturn]] void broken_contract(const char *what);

// Whether JavaScript can run: not so while a worker is being terminated, when every other call
// fails too.
bool can_run(Napi::Env env);

// Ends a call into JavaScript that was made from the event loop: an exception becomes an uncaught
// one.
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

// The memory of a Uint8Array argument. Asked for through the plain C interface, which creates no
// handles for the properties of the array.
Bytes bytes_at(const Napi::CallbackInfo &info, size_t index);

std::string string_at(const Napi::CallbackInfo &info, size_t index);

inline Napi::Value number(const Napi::CallbackInfo &info, int64_t value)
{
	return Napi::Number::New(info.Env(), static_cast<double>(value));
}

// The result of a system call, as the callers expect it: negated errno on failure.
Napi::Value result_of(const Napi::CallbackInfo &info, int result);
