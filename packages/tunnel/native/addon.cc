/* Start and end of the engine, its events, and the registration of all its functions. */
#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <node_api.h>
#include <openssl/crypto.h>
#include <string.h>

#include <algorithm>

#include "arguments.h"
#include "commands.h"

using namespace kmesh::tunnel;

namespace
{

/* Numbers for which the array is made at first, and at most: a larger batch is rare. */
constexpr size_t kLeastNumbers = 2 << 10;
constexpr size_t kMostHeld = 32 << 10;

double numberProperty(napi_env env, napi_value object, const char *name, double fallback)
{
	napi_value value;
	double result = fallback;
	if (napi_get_named_property(env, object, name, &value) == napi_ok)
		napi_get_value_double(env, value, &result);
	return result;
}

napi_value numbersOf(napi_env env, const std::vector<double> &numbers)
{
	void *data = nullptr;
	napi_value buffer, array;
	size_t bytes = numbers.size() * sizeof(double);
	napi_create_arraybuffer(env, bytes, &data, &buffer);
	if (bytes > 0)
		memcpy(data, numbers.data(), bytes);
	napi_create_typedarray(env, napi_float64_array, numbers.size(), buffer, 0, &array);
	return array;
}

napi_value extraOf(napi_env env, const EventExtra &extra)
{
	if (!extra.series.empty())
		return numbersOf(env, extra.series);
	napi_value list, item;
	napi_create_array_with_length(env, extra.blobs.size(), &list);
	for (size_t index = 0; index < extra.blobs.size(); index++) {
		napi_create_buffer_copy(env, extra.blobs[index].size(), extra.blobs[index].data(),
					nullptr, &item);
		napi_set_element(env, list, static_cast<uint32_t>(index), item);
	}
	return list;
}

/* Returns the holder's array with these numbers at its beginning. */
napi_value heldNumbers(napi_env env, Holder &holder, const std::vector<double> &numbers)
{
	napi_value buffer, array;
	if (holder.numbers == nullptr || numbers.size() > holder.capacity) {
		void *data = nullptr;
		size_t capacity = std::max(numbers.size() * 2, kLeastNumbers);
		if (holder.numbers != nullptr)
			napi_delete_reference(env, holder.numbers);
		holder.numbers = nullptr;
		napi_create_arraybuffer(env, capacity * sizeof(double), &data, &buffer);
		napi_create_typedarray(env, napi_float64_array, capacity, buffer, 0, &array);
		napi_create_reference(env, array, 1, &holder.numbers);
		holder.room = static_cast<double *>(data);
		holder.capacity = capacity;
	}
	memcpy(holder.room, numbers.data(), numbers.size() * sizeof(double));
	napi_get_reference_value(env, holder.numbers, &array);
	return array;
}

/* Calls the handler once: (numbers, count of numbers, texts, extras). */
void deliver(napi_env env, napi_value handler, Holder &holder, const EventBatch &batch)
{
	napi_value arguments[4], item, global;
	size_t count = batch.numbers.size();
	arguments[0] = count <= kMostHeld ? heldNumbers(env, holder, batch.numbers)
					  : numbersOf(env, batch.numbers);
	napi_create_double(env, static_cast<double>(count), &arguments[1]);
	napi_create_array_with_length(env, batch.texts.size(), &arguments[2]);
	for (size_t index = 0; index < batch.texts.size(); index++) {
		/* One character per byte: header values are bytes, and everything else is ASCII. */
		const std::string &text = batch.texts[index];
		napi_create_string_latin1(env, text.data(), text.size(), &item);
		napi_set_element(env, arguments[2], static_cast<uint32_t>(index), item);
	}
	napi_create_array_with_length(env, batch.extras.size(), &arguments[3]);
	for (size_t index = 0; index < batch.extras.size(); index++)
		napi_set_element(env, arguments[3], static_cast<uint32_t>(index),
				 extraOf(env, batch.extras[index]));
	napi_get_global(env, &global);
	napi_call_function(env, global, handler, 4, arguments, nullptr);
}

void onSignal(napi_env env, napi_value, void *context, void *)
{
	auto *holder = static_cast<Holder *>(context);
	if (env == nullptr || holder->engine == nullptr)
		return;
	std::vector<EventBatch> batches = holder->engine->take();
	napi_value handler;
	napi_get_reference_value(env, holder->handler, &handler);
	holder->handling = true;
	for (const EventBatch &batch : batches) {
		napi_handle_scope scope;
		napi_open_handle_scope(env, &scope);
		deliver(env, handler, *holder, batch);
		napi_close_handle_scope(env, scope);
	}
	holder->handling = false;
	if (holder->engine != nullptr && !holder->commands.empty())
		holder->engine->post(std::move(holder->commands));
	holder->commands.clear();
}

void stopEngine(Holder *holder)
{
	if (holder->engine == nullptr)
		return;
	Engine *engine = holder->engine;
	holder->engine = nullptr;
	engine->stop();
	delete engine;
	if (holder->signal != nullptr)
		napi_release_threadsafe_function(holder->signal, napi_tsfn_abort);
	holder->signal = nullptr;
	if (holder->numbers != nullptr)
		napi_delete_reference(holder->env, holder->numbers);
	holder->numbers = nullptr;
	holder->capacity = 0;
}

void cleanup(void *data)
{
	stopEngine(static_cast<Holder *>(data));
}

napi_value engineStart(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	napi_value object = in.values[0];
	EngineConfig config;
	auto set = [&](const char *name, uint32_t *field) {
		*field = static_cast<uint32_t>(numberProperty(env, object, name, *field));
	};
	set("streamWindow", &config.streamWindow);
	set("connectionWindow", &config.connectionWindow);
	set("frameSize", &config.frameSize);
	set("serverStreams", &config.serverStreams);
	set("pingIntervalMs", &config.pingIntervalMs);
	set("pingTimeoutMs", &config.pingTimeoutMs);
	set("handshakeTimeoutMs", &config.handshakeTimeoutMs);
	set("stallMs", &config.stallMs);
	set("mark", &config.mark);
	config.keepalive = numberProperty(env, object, "keepaliveTimeS", 180) > 0;
	set("keepaliveTimeS", &config.keepaliveTimeS);
	set("keepaliveIntervalS", &config.keepaliveIntervalS);
	set("keepaliveRetries", &config.keepaliveRetries);
	set("userTimeoutMs", &config.userTimeoutMs);
	double table = numberProperty(env, object, "handoffTable", -1);
	if (table >= 0)
		config.handoffTable = fcntl(static_cast<int>(table), F_DUPFD_CLOEXEC, 3);
	table = numberProperty(env, object, "pickTable", -1);
	if (table >= 0)
		config.pickTable = fcntl(static_cast<int>(table), F_DUPFD_CLOEXEC, 3);
	auto *holder = new Holder;
	holder->env = env;
	napi_create_reference(env, in.values[1], 1, &holder->handler);
	napi_value name;
	napi_create_string_utf8(env, "kmesh tunnel engine", NAPI_AUTO_LENGTH, &name);
	napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, holder,
					onSignal, &holder->signal);
	holder->engine = new Engine(config);
	napi_threadsafe_function signal = holder->signal;
	holder->engine->notify = [signal] {
		napi_call_threadsafe_function(signal, nullptr, napi_tsfn_nonblocking);
	};
	napi_value result;
	if (!holder->engine->start()) {
		stopEngine(holder);
		napi_get_undefined(env, &result);
		return result;
	}
	napi_add_env_cleanup_hook(env, cleanup, holder);
	napi_create_external(env, holder, nullptr, nullptr, &result);
	return result;
}

napi_value engineStop(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	Holder *holder = in.holder();
	if (holder->engine != nullptr)
		napi_remove_env_cleanup_hook(env, cleanup, holder);
	stopEngine(holder);
	return nothing(env);
}

napi_value engineReference(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	Holder *holder = in.holder();
	if (holder->signal == nullptr)
		return nothing(env);
	if (in.flag(1)) {
		napi_ref_threadsafe_function(env, holder->signal);
	} else {
		napi_unref_threadsafe_function(env, holder->signal);
	}
	return nothing(env);
}

} // namespace

static void defineFunctions(napi_env env, napi_value exports)
{
	static const struct {
		const char *name;
		napi_callback callback;
	} functions[] = {
	    {"tunnelStart", engineStart},
	    {"tunnelStop", engineStop},
	    {"tunnelReference", engineReference},
	    {"tunnelAddNamespace", engineAddNamespace},
	    {"tunnelRemoveNamespace", engineRemoveNamespace},
	    {"tunnelAddListener", engineAddListener},
	    {"tunnelRemoveListener", engineRemoveListener},
	    {"tunnelFlowConnect", flowConnect},
	    {"tunnelFlowRequest", flowRequest},
	    {"tunnelFlowPlan", flowPlan},
	    {"tunnelTakeBack", engineTakeBack},
	    {"tunnelFlowReject", flowReject},
	    {"tunnelFlowAbort", flowAbort},
	    {"tunnelFlowLeave", flowLeave},
	    {"tunnelSessionAccept", sessionAccept},
	    {"tunnelSessionConnect", sessionConnect},
	    {"tunnelSessionNest", sessionNest},
	    {"tunnelSessionDrain", sessionDrain},
	    {"tunnelSessionAbort", sessionAbort},
	    {"tunnelUnacknowledged", engineUnacknowledged},
	    {"tunnelReportBytes", engineReportBytes},
	    {"tunnelTlsContext", tlsContext},
	    {"tunnelChainRevoked", tlsChainRevoked},
	};
	for (const auto &function : functions) {
		napi_value value;
		napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback,
				     nullptr, &value);
		napi_set_named_property(env, exports, function.name, value);
	}
}

/* Library versions at compile time; engine/native.ts compares them with those in Node.js. */
static void defineVersions(napi_env env, napi_value exports)
{
	const std::pair<const char *, const char *> versions[] = {
	    {"nghttp2Headers", NGHTTP2_VERSION}, {"opensslHeaders", OPENSSL_VERSION_STR}};
	for (const auto &[name, version] : versions) {
		napi_value value;
		napi_create_string_utf8(env, version, NAPI_AUTO_LENGTH, &value);
		napi_set_named_property(env, exports, name, value);
	}
}

NAPI_MODULE_INIT()
{
	defineVersions(env, exports);
	defineFunctions(env, exports);
	return exports;
}
