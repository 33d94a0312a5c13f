/*
 * The engine as Node-API functions. TypeScript validates arguments and names them
 * (packages/tunnel/src/engine/engine.ts); here they are only unpacked and handed to the engine's
 * thread.
 */
#include "tunnel-register.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tunnel-engine.h"
#include "tunnel-join.h"

using namespace kmesh::tunnel;

namespace
{

struct Holder {
	Engine *engine = nullptr;
	napi_env env = nullptr;
	napi_ref handler = nullptr;
	napi_threadsafe_function signal = nullptr;
	/* Commands of the handler that runs now: the engine's thread is woken once for all of them.
	 */
	bool handling = false;
	std::vector<std::function<void()>> commands;
};

struct Arguments {
	napi_env env;
	size_t count = 16;
	napi_value values[16];
	Arguments(napi_env given, napi_callback_info info) : env(given)
	{
		napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
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

napi_value nothing(napi_env)
{
	return nullptr;
}

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

/* One call of the handler: (numbers, texts, extras). */
void deliver(napi_env env, napi_value handler, const EventBatch &batch)
{
	napi_value arguments[3], item, global;
	arguments[0] = numbersOf(env, batch.numbers);
	napi_create_array_with_length(env, batch.texts.size(), &arguments[1]);
	for (size_t index = 0; index < batch.texts.size(); index++) {
		/* One character per byte: header values are bytes, and the rest is ASCII. */
		const std::string &text = batch.texts[index];
		napi_create_string_latin1(env, text.data(), text.size(), &item);
		napi_set_element(env, arguments[1], static_cast<uint32_t>(index), item);
	}
	napi_create_array_with_length(env, batch.extras.size(), &arguments[2]);
	for (size_t index = 0; index < batch.extras.size(); index++)
		napi_set_element(env, arguments[2], static_cast<uint32_t>(index),
				 extraOf(env, batch.extras[index]));
	napi_get_global(env, &global);
	napi_call_function(env, global, handler, 3, arguments, nullptr);
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
		deliver(env, handler, batch);
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
}

void cleanup(void *data)
{
	stopEngine(static_cast<Holder *>(data));
}

/* All of them or none. */
void setJoinMaps(napi_env env, napi_value object, JoinMaps *maps)
{
	const std::pair<const char *, int *> fields[] = {{"joinPeers", &maps->peers},
							 {"joinPlaces", &maps->places},
							 {"joins", &maps->joins},
							 {"joinWakes", &maps->wakes}};
	for (const auto &[name, field] : fields) {
		double fd = numberProperty(env, object, name, -1);
		if (fd < 0)
			return;
	}
	for (const auto &[name, field] : fields)
		*field = fcntl(static_cast<int>(numberProperty(env, object, name, -1)),
			       F_DUPFD_CLOEXEC, 3);
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
	set("mark", &config.mark);
	config.keepalive = numberProperty(env, object, "keepaliveTimeS", 180) > 0;
	set("keepaliveTimeS", &config.keepaliveTimeS);
	set("keepaliveIntervalS", &config.keepaliveIntervalS);
	set("keepaliveRetries", &config.keepaliveRetries);
	set("userTimeoutMs", &config.userTimeoutMs);
	set("joinTurns", &config.joinTurns);
	double table = numberProperty(env, object, "handoffTable", -1);
	if (table >= 0)
		config.handoffTable = fcntl(static_cast<int>(table), F_DUPFD_CLOEXEC, 3);
	setJoinMaps(env, object, &config.joinMaps);
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

/* (engine, id, fd): the engine keeps its own copy of the descriptor. */
napi_value engineAddNamespace(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	int fd = fcntl(static_cast<int>(in.number(2)), F_DUPFD_CLOEXEC, 3);
	return post(in.holder(),
		    [id = in.id(1), fd](Engine &engine) { engine.namespaces[id] = fd; });
}

napi_value engineRemoveNamespace(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1)](Engine &engine) {
		auto found = engine.namespaces.find(id);
		if (found == engine.namespaces.end())
			return;
		engine.enterNamespace(0);
		close(found->second);
		engine.namespaces.erase(found);
		engine.portRanges.erase(id);
	});
}

/* (engine, id, fd, tunnel): takes the descriptor over. */
napi_value engineAddListener(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	int fd = static_cast<int>(in.number(2));
	return post(in.holder(), [id = in.id(1), fd, tunnel = in.flag(3)](Engine &engine) {
		auto listener = std::make_unique<Listener>();
		listener->engine = &engine;
		listener->id = id;
		listener->fd = fd;
		listener->tunnel = tunnel;
		if (engine.config.handoffTable >= 0 && !tunnel)
			listener->netnsCookie = netnsCookieOf(fd);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		engine.prepareSocket(fd);
		if (!tunnel)
			listener->forgetTransparent();
		engine.watch(fd, listener.get(), 1 /* EPOLLIN */);
		engine.listeners.emplace(id, std::move(listener));
	});
}

napi_value engineRemoveListener(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1)](Engine &engine) {
		auto found = engine.listeners.find(id);
		if (found == engine.listeners.end())
			return;
		/* What already waits in the queue was accepted by the kernel: serve it before
		 * closing. */
		for (int turn = 0; turn < 8 && !found->second->paused; turn++)
			found->second->acceptAll();
		engine.unwatch(found->second->fd);
		close(found->second->fd);
		engine.buriedListeners.push_back(std::move(found->second));
		engine.listeners.erase(found);
		engine.emit(EventType::ListenerClosed, id);
	});
}

/* Where a connection goes: (…, namespace, address, port, source or "", source required, timeout in
 * ms). */
ConnectSpec connectSpec(Arguments &in, size_t at)
{
	ConnectSpec spec;
	spec.namespaceId = in.id(at);
	parseAddress(in.text(at + 1), static_cast<uint16_t>(in.number(at + 2)), &spec.target);
	std::string source = in.text(at + 3);
	if (!source.empty())
		parseAddress(source, 0, &spec.source);
	spec.sourceRequired = in.flag(at + 4);
	spec.timeoutMs = static_cast<uint32_t>(in.number(at + 5));
	return spec;
}

/* (engine, flow, namespace, address, port, source, required, timeout, prefix, response fields,
 * failure status) */
napi_value flowConnect(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1), spec = connectSpec(in, 2), prefix = in.bytes(8),
				  fields = in.text(9), status = static_cast<int>(in.number(10))](
				     Engine &engine) mutable {
		spec.keepalive = status == 0;
		if (Flow *flow = engine.flow(id))
			flow->connect(spec, prefix, std::move(fields), status);
	});
}

/* (engine, flow, session, fields, report) */
napi_value flowRequest(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1), session = in.id(2), fields = in.text(3),
				  report = in.flag(4)](Engine &engine) {
		if (Flow *flow = engine.flow(id))
			flow->request(engine.session(session), fields, report);
	});
}

napi_value flowReject(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(),
		    [id = in.id(1), status = static_cast<int>(in.number(2))](Engine &engine) {
			    if (Flow *flow = engine.flow(id))
				    flow->reject(status);
		    });
}

napi_value flowAbort(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1)](Engine &engine) {
		if (Flow *flow = engine.flow(id))
			flow->abort();
	});
}

std::shared_ptr<SSL_CTX> shareContext(SSL_CTX *context)
{
	SSL_CTX_up_ref(context);
	return std::shared_ptr<SSL_CTX>(context, SSL_CTX_free);
}

/* (engine, session, context, trust domain) */
napi_value sessionAccept(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1), context = shareContext(in.external<SSL_CTX>(2)),
				  domain = in.text(3)](Engine &engine) {
		if (Session *session = engine.session(id))
			session->accept(context.get(), domain);
	});
}

/* (engine, session, namespace, address, port, source, required, timeout, context, identities) */
napi_value sessionConnect(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1), spec = connectSpec(in, 2),
				  context = shareContext(in.external<SSL_CTX>(8)),
				  identities = in.texts(9)](Engine &engine) mutable {
		auto session = std::make_unique<Session>(engine, id, false);
		Session *made = session.get();
		engine.sessions.emplace(id, std::move(session));
		made->connect(spec, context.get(), std::move(identities));
	});
}

/* (engine, session, carrier, fields, context, identities) */
napi_value sessionNest(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1), carrier = in.id(2), fields = in.text(3),
				  context = shareContext(in.external<SSL_CTX>(4)),
				  identities = in.texts(5)](Engine &engine) mutable {
		auto session = std::make_unique<Session>(engine, id, false);
		Session *made = session.get();
		engine.sessions.emplace(id, std::move(session));
		made->nest(engine.session(carrier), fields, context.get(), std::move(identities));
	});
}

napi_value sessionDrain(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1)](Engine &engine) {
		if (Session *session = engine.session(id))
			session->drain();
	});
}

napi_value sessionAbort(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1)](Engine &engine) {
		if (Session *session = engine.session(id))
			session->kill(SessionEnd::Aborted, 0, "");
	});
}

napi_value engineReportBytes(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [](Engine &engine) { engine.reportBytes(); });
}

/* (engine) → how many flows were joined, how often one woke, and the bytes of those that ended */
napi_value engineJoinCounts(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	Holder *holder = in.holder();
	std::vector<double> counts;
	if (holder->engine != nullptr && holder->engine->joins != nullptr) {
		const JoinCounts &from = holder->engine->joins->counts;
		for (const auto *count : {&from.joined, &from.woken, &from.bytes})
			counts.push_back(static_cast<double>(count->load()));
	}
	return numbersOf(env, counts);
}

/* (server, certificate chain, key, roots, revocation lists, TLS 1.2 too, post-quantum only) →
 * context or error text */
napi_value tlsContext(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	TlsOptions options;
	options.server = in.flag(0);
	options.certificatePem = in.text(1);
	options.keyPem = in.text(2);
	options.rootsPem = in.text(3);
	options.tls12 = in.flag(5);
	options.postQuantumOnly = in.flag(6);
	options.crls = in.byteLists(4);
	std::string error;
	SSL_CTX *context = createTlsContext(options, &error);
	napi_value result;
	if (context == nullptr) {
		napi_create_string_utf8(env, error.data(), error.size(), &result);
		return result;
	}
	napi_create_external(
	    env, context,
	    [](napi_env, void *data, void *) { SSL_CTX_free(static_cast<SSL_CTX *>(data)); },
	    nullptr, &result);
	return result;
}

/* (chain, revocation lists) → whether one of them revokes a certificate of the chain */
napi_value tlsChainRevoked(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	napi_value result;
	napi_get_boolean(env, chainRevoked(in.byteLists(0), in.byteLists(1)), &result);
	return result;
}

} // namespace

void registerTunnel(napi_env env, napi_value exports)
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
	    {"tunnelFlowReject", flowReject},
	    {"tunnelFlowAbort", flowAbort},
	    {"tunnelSessionAccept", sessionAccept},
	    {"tunnelSessionConnect", sessionConnect},
	    {"tunnelSessionNest", sessionNest},
	    {"tunnelSessionDrain", sessionDrain},
	    {"tunnelSessionAbort", sessionAbort},
	    {"tunnelReportBytes", engineReportBytes},
	    {"tunnelJoinCounts", engineJoinCounts},
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

#ifdef KMESH_TUNNEL_STANDALONE
NAPI_MODULE_INIT()
{
	registerTunnel(env, exports);
	return exports;
}
#endif
