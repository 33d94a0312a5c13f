// clsact filters, for kernels without tcx.
#include "environment.h"
#include "libbpf_log.h"
#include "namespace_scope.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <net/if.h>

static enum bpf_tc_attach_point point(bool egress)
{
	return egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
}

static Napi::Value filter_attach(const Napi::CallbackInfo &info)
{
	NamespaceScope inside(int_at(info, 4));

	if (inside.error() != 0)
		return number(info, -inside.error());
	// Keeps libbpf from printing the kernel's error about a missing filter.
	LibbpfLog log;
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = int_at(info, 1),
		    .attach_point = point(info[2].As<Napi::Boolean>().Value()));
	// The clsact qdisc is shared: it may exist already and is never removed with a filter.
	int result = bpf_tc_hook_create(&hook);
	if (result != 0 && result != -EEXIST)
		return number(info, result);
	LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = int_at(info, 0), .handle = uint_at(info, 5),
		    .priority = uint_at(info, 3));
	if (info[6].As<Napi::Boolean>().Value())
		options.flags = BPF_TC_F_REPLACE;
	result = bpf_tc_attach(&hook, &options);
	if (result != 0)
		return number(info, result);
	auto filter = Napi::Object::New(info.Env());
	filter.Set("handle", options.handle);
	filter.Set("priority", options.priority);
	return filter;
}

static Napi::Value filter_detach(const Napi::CallbackInfo &info)
{
	NamespaceScope inside(int_at(info, 4));

	if (inside.error() != 0)
		return number(info, -inside.error());
	LibbpfLog log;
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = int_at(info, 0),
		    .attach_point = point(info[1].As<Napi::Boolean>().Value()));
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = uint_at(info, 2), .priority = uint_at(info, 3));
	return number(info, bpf_tc_detach(&hook, &options));
}

// Returns the id of a filter's program.
static Napi::Value filter_program(const Napi::CallbackInfo &info)
{
	NamespaceScope inside(int_at(info, 4));

	if (inside.error() != 0)
		return number(info, -inside.error());
	LibbpfLog log;
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = int_at(info, 0),
		    .attach_point = point(info[1].As<Napi::Boolean>().Value()));
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = uint_at(info, 2), .priority = uint_at(info, 3));
	int result = bpf_tc_query(&hook, &options);
	return number(info, result != 0 ? result : static_cast<int64_t>(options.prog_id));
}

static Napi::Value interface_index(const Napi::CallbackInfo &info)
{
	NamespaceScope inside(int_at(info, 1));

	if (inside.error() != 0)
		return number(info, -inside.error());
	unsigned int index = if_nametoindex(string_at(info, 0).c_str());
	return number(info, index == 0 ? -errno : static_cast<int64_t>(index));
}

void register_filters(Napi::Env env, Napi::Object exports)
{
	define<filter_attach>(env, exports, "filterAttach");
	define<filter_detach>(env, exports, "filterDetach");
	define<filter_program>(env, exports, "filterProgram");
	define<interface_index>(env, exports, "interfaceIndex");
}
