/* Arguments of Node-API functions, and commands for the engine's thread. TypeScript validates and
 * names them (packages/tunnel/src/engine/engine.ts); here they are only unpacked. */
#pragma once

#include <node_api.h>
#include <stdint.h>

#include <functional>
#include <string>
#include <vector>

#include "engine.h"

namespace kmesh::tunnel
{

/* TypeScript's handle of an engine. */
struct Holder {
	Engine *engine = nullptr;
	napi_env env = nullptr;
	napi_ref handler = nullptr;
	napi_threadsafe_function signal = nullptr;
	/* The array in which events are passed: one for each batch would be garbage outside of V8's
	 * heap, whose collection takes as long as the events. */
	napi_ref numbers = nullptr;
	double *room = nullptr;
	size_t capacity = 0;
	/* While the handler runs, commands are collected: they wake the engine's thread once.
	 */
	bool handling = false;
	std::vector<std::function<void()>> commands;
};

struct Arguments {
	napi_env env;
	static constexpr size_t kArguments = 16, kProperties = 16;
	size_t count = kArguments, end = kArguments;
	napi_value values[kArguments + kProperties];
	Arguments(napi_env given, napi_callback_info info) : env(given)
	{
		napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
	}
	/* Unpacks the property of an object argument; returns its new index. */
	size_t property(size_t object, const char *name)
	{
		napi_get_named_property(env, values[object], name, &values[end]);
		return end++;
	}
	double number(size_t at)
	{
		double value = 0;
		napi_get_value_double(env, values[at], &value);
		return value;
	}
	uint64_t id(size_t at)
	{
		return static_cast<uint64_t>(number(at));
	}
	bool flag(size_t at)
	{
		bool value = false;
		napi_get_value_bool(env, values[at], &value);
		return value;
	}
	std::string text(size_t at)
	{
		return textOf(values[at]);
	}
	std::string textOf(napi_value value)
	{
		char small[512];
		size_t length = 0;
		if (napi_get_value_string_utf8(env, value, small, sizeof small, &length) != napi_ok)
			return {};
		if (length < sizeof small - 1)
			return std::string(small, length);
		napi_get_value_string_utf8(env, value, nullptr, 0, &length);
		std::string large(length + 1, '\0');
		napi_get_value_string_utf8(env, value, large.data(), large.size(), &length);
		large.resize(length);
		return large;
	}
	std::vector<std::string> texts(size_t at)
	{
		std::vector<std::string> result;
		bool isArray = false;
		napi_is_array(env, values[at], &isArray);
		if (!isArray)
			return result;
		uint32_t length = 0;
		napi_get_array_length(env, values[at], &length);
		for (uint32_t index = 0; index < length; index++) {
			napi_value element;
			napi_get_element(env, values[at], index, &element);
			result.push_back(textOf(element));
		}
		return result;
	}
	std::string bytes(size_t at)
	{
		bool isTyped = false;
		napi_is_typedarray(env, values[at], &isTyped);
		if (!isTyped)
			return {};
		size_t length = 0;
		void *data = nullptr;
		napi_get_typedarray_info(env, values[at], nullptr, &length, &data, nullptr,
					 nullptr);
		return std::string(static_cast<char *>(data), length);
	}
	std::vector<std::string> byteLists(size_t at)
	{
		std::vector<std::string> result;
		bool isArray = false;
		napi_is_array(env, values[at], &isArray);
		uint32_t length = 0;
		if (isArray)
			napi_get_array_length(env, values[at], &length);
		for (uint32_t index = 0; index < length; index++) {
			napi_value element;
			napi_get_element(env, values[at], index, &element);
			void *data = nullptr;
			size_t size = 0;
			if (napi_get_typedarray_info(env, element, nullptr, &size, &data, nullptr,
						     nullptr) == napi_ok) {
				result.emplace_back(static_cast<char *>(data), size);
			}
		}
		return result;
	}
	template <typename T> T *external(size_t at)
	{
		void *data = nullptr;
		napi_get_value_external(env, values[at], &data);
		return static_cast<T *>(data);
	}
	Holder *holder()
	{
		return external<Holder>(0);
	}
};

inline napi_value nothing(napi_env)
{
	return nullptr;
}

/* Runs `command` on the engine's thread. */
template <typename Function> napi_value post(Holder *holder, Function &&command)
{
	Engine *engine = holder->engine;
	if (engine == nullptr)
		return nullptr;
	auto bound = [engine, command = std::forward<Function>(command)]() mutable {
		command(*engine);
	};
	if (holder->handling)
		holder->commands.emplace_back(std::move(bound));
	else
		engine->post(std::move(bound));
	return nullptr;
}

} // namespace kmesh::tunnel
