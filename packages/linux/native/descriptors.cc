// Descriptors: closing, copying, ownership, their limit, and readiness on the thread's event loop.
#include "environment.h"

#include <uv.h>

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static Napi::Value close_descriptor(const Napi::CallbackInfo &info)
{
	int fd = int_at(info, 0);

	Environment::of(info.Env()).descriptors.erase(fd);
	return result_of(info, close(fd));
}

static Napi::Value duplicate_descriptor(const Napi::CallbackInfo &info)
{
	return result_of(info, fcntl(int_at(info, 0), F_DUPFD_CLOEXEC, 0));
}

static Napi::Value own_descriptor(const Napi::CallbackInfo &info)
{
	Environment::of(info.Env()).descriptors.insert(int_at(info, 0));
	return info.Env().Undefined();
}

static Napi::Value disown_descriptor(const Napi::CallbackInfo &info)
{
	Environment::of(info.Env()).descriptors.erase(int_at(info, 0));
	return info.Env().Undefined();
}

static Napi::Value raise_descriptor_limit(const Napi::CallbackInfo &info)
{
	rlim_t wanted = uint_at(info, 0);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return number(info, -errno);
	if (limit.rlim_cur >= wanted)
		return number(info, limit.rlim_cur);
	struct rlimit raised = {wanted, limit.rlim_max > wanted ? limit.rlim_max : wanted};
	if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
		return number(info, wanted);
	// Not allowed beyond the hard limit.
	raised = {limit.rlim_max < wanted ? limit.rlim_max : wanted, limit.rlim_max};
	if (setrlimit(RLIMIT_NOFILE, &raised) != 0)
		return number(info, -errno);
	return number(info, raised.rlim_cur);
}

struct Watcher {
	Napi::Env env;
	uv_poll_t *poll;
	Napi::FunctionReference ready;
	napi_async_cleanup_hook_handle cleanup = nullptr;
	bool closing = false;
	// Freed when both the event loop and JavaScript have let go.
	bool closed = false;
	bool collected = false;

	Watcher(Napi::Env environment, uv_poll_t *handle) : env(environment), poll(handle)
	{
	}

	~Watcher()
	{
		free(poll);
	}
};

static Watcher *watcher_at(const Napi::CallbackInfo &info)
{
	return info[0].As<Napi::External<Watcher>>().Data();
}

static uv_handle_t *handle_of(Watcher *watcher)
{
	return reinterpret_cast<uv_handle_t *>(watcher->poll);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	auto *watcher =
	    static_cast<Watcher *>(uv_handle_get_data(reinterpret_cast<uv_handle_t *>(poll)));
	Napi::Env env = watcher->env;
	Napi::HandleScope scope(env);

	if (!can_run(env))
		return;
	// By the C interface: the callback may terminate the worker, and then nothing can be
	// thrown.
	napi_value arguments[] = {Napi::Number::New(env, status), Napi::Number::New(env, events)};
	napi_make_callback(env, nullptr, env.Global(), watcher->ready.Value(), 2, arguments,
			   nullptr);
	report_exception(env);
}

static void on_closed(uv_handle_t *handle)
{
	auto *watcher = static_cast<Watcher *>(uv_handle_get_data(handle));

	napi_remove_async_cleanup_hook(watcher->cleanup);
	watcher->closed = true;
	if (watcher->collected)
		delete watcher;
}

static void begin_close(Watcher *watcher)
{
	if (watcher->closing)
		return;
	watcher->closing = true;
	watcher->ready.Reset();
	uv_poll_stop(watcher->poll);
	uv_close(handle_of(watcher), on_closed);
}

static void collect(Napi::Env, Watcher *watcher)
{
	watcher->collected = true;
	if (watcher->closed)
		delete watcher;
	else
		begin_close(watcher);
}

static Napi::Value watcher_open(const Napi::CallbackInfo &info)
{
	uv_loop_t *loop = nullptr;

	if (napi_get_uv_event_loop(info.Env(), &loop) != napi_ok)
		broken_contract("this environment has no event loop");
	auto *watcher =
	    new Watcher(info.Env(), static_cast<uv_poll_t *>(calloc(1, uv_handle_size(UV_POLL))));
	int result = uv_poll_init(loop, watcher->poll, int_at(info, 0));
	if (result != 0) {
		delete watcher;
		return number(info, result);
	}
	watcher->ready = Napi::Persistent(info[1].As<Napi::Function>());
	uv_handle_set_data(handle_of(watcher), watcher);
	napi_add_async_cleanup_hook(
	    info.Env(),
	    [](napi_async_cleanup_hook_handle, void *data) {
		    begin_close(static_cast<Watcher *>(data));
	    },
	    watcher, &watcher->cleanup);
	return Napi::External<Watcher>::New(info.Env(), watcher, collect);
}

static Napi::Value watcher_start(const Napi::CallbackInfo &info)
{
	Watcher *watcher = watcher_at(info);
	int events = int_at(info, 1);

	if (watcher->closing)
		return number(info, 0);
	return number(info, events == 0 ? uv_poll_stop(watcher->poll)
					: uv_poll_start(watcher->poll, events, on_ready));
}

static Napi::Value watcher_reference(const Napi::CallbackInfo &info)
{
	Watcher *watcher = watcher_at(info);

	if (watcher->closing)
		return info.Env().Undefined();
	if (info[1].As<Napi::Boolean>().Value())
		uv_ref(handle_of(watcher));
	else
		uv_unref(handle_of(watcher));
	return info.Env().Undefined();
}

static Napi::Value watcher_close(const Napi::CallbackInfo &info)
{
	begin_close(watcher_at(info));
	return info.Env().Undefined();
}

void register_descriptors(Napi::Env env, Napi::Object exports)
{
	define<close_descriptor>(env, exports, "closeDescriptor");
	define<duplicate_descriptor>(env, exports, "duplicateDescriptor");
	define<own_descriptor>(env, exports, "ownDescriptor");
	define<disown_descriptor>(env, exports, "disownDescriptor");
	define<raise_descriptor_limit>(env, exports, "raiseDescriptorLimit");
	define<watcher_open>(env, exports, "watcherOpen");
	define<watcher_start>(env, exports, "watcherStart");
	define<watcher_reference>(env, exports, "watcherReference");
	define<watcher_close>(env, exports, "watcherClose");
}
