// clsact filters, for kernels without tcx.
#include "environment.h"
#include "libbpf_log.h"
#include "namespace_scope.h"
#include "netlink.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <string>
#include <vector>

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

// Returns the name of a listed filter's program, empty for a filter of another kind.
static std::string program_of(const nlmsghdr *message)
{
	auto *filter = static_cast<const tcmsg *>(NLMSG_DATA(message));
	std::string name;

	each_attribute(TCA_RTA(filter), TCA_PAYLOAD(message),
		       [&](int type, const void *data, size_t size) {
			       if (type != TCA_OPTIONS)
				       return;
			       each_attribute(data, size, [&](int inner, const void *text, size_t) {
				       if (inner == TCA_BPF_NAME)
					       name = static_cast<const char *>(text);
			       });
		       });
	return name;
}

// (interface, egress, namespace) → the names of the filters' programs, or a negated errno.
static Napi::Value filter_list(const Napi::CallbackInfo &info)
{
	struct {
		nlmsghdr header;
		tcmsg filter;
	} request = {};
	std::vector<std::string> names;
	int failed;

	request.header = {sizeof(request), RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, 1, 0};
	request.filter.tcm_ifindex = int_at(info, 0);
	request.filter.tcm_parent = TC_H_MAKE(
	    TC_H_CLSACT, info[1].As<Napi::Boolean>().Value() ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
	{
		NamespaceScope inside(int_at(info, 2));
		if (inside.error() != 0)
			return number(info, -inside.error());
		Netlink netlink(NETLINK_ROUTE);
		failed = netlink.ask(request.header, [&](const nlmsghdr *message) {
			// Without a handle it is the head of filters with one priority.
			if (message->nlmsg_type == RTM_NEWTFILTER &&
			    static_cast<const tcmsg *>(NLMSG_DATA(message))->tcm_handle != 0)
				names.push_back(program_of(message));
		});
	}
	if (failed != 0)
		return number(info, -failed);
	auto list = Napi::Array::New(info.Env());
	for (const auto &name : names)
		list.Set(list.Length(), name);
	return list;
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
	define<filter_list>(env, exports, "filterList");
	define<interface_index>(env, exports, "interfaceIndex");
}
