// Scheduling attributes of a thread.
#include "environment.h"

#include <cerrno>
#include <sys/syscall.h>
#include <unistd.h>

// struct sched_attr of linux/sched/types.h, which is incomplete in older headers.
struct ScheduleAttributes {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
	uint32_t utilization_minimum;
	uint32_t utilization_maximum;
};

// (nanoseconds) → 0, or a negated errno.
static Napi::Value request_slice(const Napi::CallbackInfo &info)
{
	ScheduleAttributes attributes = {};

	if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0)
		return number(info, -errno);
	attributes.size = sizeof(attributes);
	attributes.runtime = uint_at(info, 0);
	return result_of(info, static_cast<int>(syscall(SYS_sched_setattr, 0, &attributes, 0)));
}

void register_scheduling(Napi::Env env, Napi::Object exports)
{
	define<request_slice>(env, exports, "requestSlice");
}
