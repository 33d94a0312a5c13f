/* Commands of TypeScript to a running engine: unpacked, and passed to the engine's thread. */
#include "commands.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "tls.h"

namespace kmesh::tunnel
{

/* (engine, id, fd): the engine duplicates the descriptor. */
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

/* (engine, id, fd, tunnel, outbound): takes ownership of the descriptor. */
napi_value engineAddListener(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	int fd = static_cast<int>(in.number(2));
	return post(in.holder(), [id = in.id(1), fd, tunnel = in.flag(3),
				  outbound = in.flag(4)](Engine &engine) {
		auto listener = std::make_unique<Listener>();
		listener->engine = &engine;
		listener->id = id;
		listener->fd = fd;
		listener->tunnel = tunnel;
		listener->outbound = outbound;
		if (!tunnel &&
		    (engine.config.handoffTable >= 0 || (outbound && engine.config.pickTable >= 0)))
			listener->netnsCookie = netnsCookieOf(fd);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		engine.prepareSocket(fd);
		/* Accepted sockets inherit it from the listener. */
		if (outbound)
			engine.prepareWithinPod(fd);
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
		/* Connections in the backlog were accepted by the kernel: serve them before
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

/* Target of a connection: an object with the properties of FlowConnect in TypeScript. */
static ConnectSpec connectSpec(Arguments &in, size_t at)
{
	ConnectSpec spec;
	spec.namespaceId = in.id(in.property(at, "namespace"));
	uint16_t port = static_cast<uint16_t>(in.number(in.property(at, "port")));
	parseAddress(in.text(in.property(at, "ip")), port, &spec.target);
	std::string source = in.text(in.property(at, "source"));
	if (!source.empty())
		parseAddress(source, 0, &spec.source);
	spec.sourceRequired = in.flag(in.property(at, "sourceRequired"));
	spec.withinPod = in.flag(in.property(at, "withinPod"));
	spec.timeoutMs = static_cast<uint32_t>(in.number(in.property(at, "timeoutMilliseconds")));
	return spec;
}

/* (engine, flow, connect, plan, version): the plan is for similar flows; 0: none. */
napi_value flowConnect(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	int status = static_cast<int>(in.number(in.property(2, "failureStatus")));
	Plan plan;
	plan.number = in.id(3);
	plan.version = in.id(4);
	plan.spec = connectSpec(in, 2);
	plan.spec.keepalive = status == 0;
	plan.responseFields = in.text(in.property(2, "responseFields"));
	plan.failStatus = status;
	return post(in.holder(),
		    [id = in.id(1), plan = std::move(plan),
		     prefix = in.bytes(in.property(2, "prefix"))](Engine &engine) mutable {
			    Flow *flow = engine.flow(id);
			    if (flow == nullptr)
				    return;
			    std::string key = std::move(flow->planKey);
			    flow->connect(plan.spec, prefix, plan.responseFields, plan.failStatus);
			    if (plan.number != 0)
				    engine.plans.put(std::move(key), std::move(plan));
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

/* (engine, flow, plan, version, session, streams, fields before the client's port, fields after
 * it): a plan for similar flows. Call it before the flow is sent. */
napi_value flowPlan(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	Plan plan;
	plan.number = in.id(2);
	plan.version = in.id(3);
	plan.session = in.id(4);
	plan.streams = static_cast<uint32_t>(in.number(5));
	plan.before = in.text(6);
	plan.after = in.text(7);
	return post(in.holder(), [id = in.id(1), plan = std::move(plan)](Engine &engine) mutable {
		if (Flow *flow = engine.flow(id))
			engine.plans.put(std::move(flow->planKey), std::move(plan));
	});
}

/* (engine, version) → for each connection admitted by a plan and not reported yet: flow, plan,
 * client's port, milliseconds, whether it has ended, bytes either way. Plans of other versions
 * admit nothing any more. */
napi_value engineTakeBack(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	Engine *engine = in.holder()->engine;
	std::vector<double> numbers;
	if (engine != nullptr) {
		std::vector<Admitted> admitted = engine->plans.takeBack(in.id(1));
		uint64_t now = Engine::preciseUs();
		for (const Admitted &one : admitted) {
			uint64_t until = one.endedUs == 0 ? now : one.endedUs;
			numbers.insert(numbers.end(), {static_cast<double>(one.flow),
						       static_cast<double>(one.plan),
						       static_cast<double>(one.clientPort),
						       static_cast<double>(until - one.atUs) / 1000,
						       one.endedUs == 0 ? 0.0 : 1.0,
						       static_cast<double>(one.bytesUp),
						       static_cast<double>(one.bytesDown)});
		}
	}
	napi_value list, item;
	napi_create_array_with_length(env, numbers.size(), &list);
	for (size_t index = 0; index < numbers.size(); index++) {
		napi_create_double(env, numbers[index], &item);
		napi_set_element(env, list, static_cast<uint32_t>(index), item);
	}
	return list;
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

napi_value flowLeave(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1)](Engine &engine) {
		if (Flow *flow = engine.flow(id))
			flow->leave();
	});
}

static std::shared_ptr<SSL_CTX> shareContext(SSL_CTX *context)
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

/* (engine, session, connect, context, identities) */
napi_value sessionConnect(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [id = in.id(1), spec = connectSpec(in, 2),
				  context = shareContext(in.external<SSL_CTX>(3)),
				  identities = in.texts(4)](Engine &engine) mutable {
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

/* (engine, all) */
napi_value engineReportBytes(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	return post(in.holder(), [all = in.flag(1)](Engine &engine) { engine.reportBytes(all); });
}

/* (engine) → number of ended sessions whose peers have bytes to acknowledge */
napi_value engineUnacknowledged(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	const Holder *holder = in.holder();
	napi_value count;
	napi_create_int32(env,
			  holder != nullptr && holder->engine != nullptr
			      ? holder->engine->lingering.unacknowledged()
			      : 0,
			  &count);
	return count;
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

/* (chain, revocation lists) → whether a list revokes a certificate of the chain */
napi_value tlsChainRevoked(napi_env env, napi_callback_info info)
{
	Arguments in(env, info);
	napi_value result;
	napi_get_boolean(env, chainRevoked(in.byteLists(0), in.byteLists(1)), &result);
	return result;
}

} // namespace kmesh::tunnel
