#include "libbpf_log.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <mutex>

static thread_local LibbpfLog *current;

// libbpf has one print function per process; each thread's messages go to the thread's capture, or
// are dropped.
static int print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (current == nullptr || level == LIBBPF_DEBUG)
		return 0;
	va_list copy;
	va_copy(copy, arguments);
	int length = vsnprintf(nullptr, 0, format, copy);
	va_end(copy);
	if (length <= 0)
		return 0;
	size_t before = current->text.size();
	current->text.resize(before + length + 1);
	vsnprintf(current->text.data() + before, length + 1, format, arguments);
	current->text.pop_back();
	return length;
}

LibbpfLog::LibbpfLog() : outer_(current)
{
	static std::once_flag installed;

	std::call_once(installed, [] { libbpf_set_print(print); });
	current = this;
}

LibbpfLog::~LibbpfLog()
{
	current = outer_;
}
