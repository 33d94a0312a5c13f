// Descriptors: closing, copying, ownership, and the limit of open ones.
#include "environment.h"

#include <cerrno>
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

void register_descriptors(Napi::Env env, Napi::Object exports)
{
	define<close_descriptor>(env, exports, "closeDescriptor");
	define<duplicate_descriptor>(env, exports, "duplicateDescriptor");
	define<own_descriptor>(env, exports, "ownDescriptor");
	define<disown_descriptor>(env, exports, "disownDescriptor");
	define<raise_descriptor_limit>(env, exports, "raiseDescriptorLimit");
}
