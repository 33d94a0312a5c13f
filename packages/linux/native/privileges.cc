// Restricts capabilities and sets no_new_privs in every thread of the process. Both belong to a
// thread, and Node.js has started threads before any JavaScript runs: a signal makes each thread
// restrict itself.
#include "environment.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <linux/capability.h>
#include <set>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static constexpr int kThreadMs = 2000;
// The signal with which glibc changes the user of every thread: no thread can block it. Some
// threads of Node.js block every other signal.
static constexpr int kSignal = 33;
static constexpr int kLender = SIGUSR2;

// The kernel's struct sigaction, which differs between architectures; larger than any.
struct KernelAction {
	alignas(8) unsigned char bytes[64] = {};
};

static int kernel_action(int signal, const KernelAction *set, KernelAction *get)
{
	return syscall(SYS_rt_sigaction, signal, set, get, sizeof(uint64_t)) == 0 ? 0 : errno;
}

static uint64_t kept;
static std::atomic<int> answered;
static std::atomic<int> failure;

// Async-signal-safe.
static int restrict_thread()
{
	__user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	__user_cap_data_struct data[2] = {};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_capget, &header, data) != 0)
		return errno;
	// The bounding set limits programs that root starts from here. It cannot be changed without
	// CAP_SETPCAP, but such a process has few capabilities.
	for (int capability = 0; capability < 64; capability++)
		if ((kept >> capability & 1) == 0)
			prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	for (int half = 0; half < 2; half++) {
		auto mask = static_cast<uint32_t>(kept >> (32 * half));
		data[half].permitted &= mask;
		data[half].effective &= mask;
		data[half].inheritable &= mask;
	}
	return syscall(SYS_capset, &header, data) == 0 ? 0 : errno;
}

static void on_signal(int)
{
	int saved = errno;
	int error = restrict_thread();

	if (error != 0)
		failure = error;
	answered++;
	errno = saved;
}

static bool wait_for(int count)
{
	timespec pause = {0, 1000000};

	for (int waited = 0; answered < count; waited++) {
		if (waited == kThreadMs)
			return false;
		nanosleep(&pause, nullptr);
	}
	return true;
}

// Signals every thread. A thread started meanwhile inherits the privileges of its creator, so this
// repeats until no new thread is found. Returns 0 or an errno.
static int restrict_others(int signal)
{
	std::set<pid_t> seen = {static_cast<pid_t>(syscall(SYS_gettid))};
	int signalled = 0;

	for (bool found = true; found;) {
		found = false;
		DIR *tasks = opendir("/proc/self/task");
		if (tasks == nullptr)
			return errno;
		while (dirent *entry = readdir(tasks)) {
			pid_t thread = atoi(entry->d_name);
			if (thread == 0 || !seen.insert(thread).second)
				continue;
			// ESRCH: the thread has ended.
			if (syscall(SYS_tgkill, getpid(), thread, signal) != 0)
				continue;
			signalled++;
			found = true;
		}
		closedir(tasks);
		if (!wait_for(signalled))
			return ETIMEDOUT;
	}
	return failure;
}

static Napi::Value restrict_process(const Napi::CallbackInfo &info)
{
	struct sigaction action = {};
	struct sigaction lender_before;
	KernelAction before;

	kept = static_cast<uint64_t>(uint_at(info, 0)) | static_cast<uint64_t>(uint_at(info, 1))
							     << 32;
	answered = 0;
	failure = 0;
	int error = restrict_thread();
	if (error != 0)
		return number(info, -error);
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART | SA_ONSTACK;
	// sigaction() of glibc refuses this signal: prepare the action for another signal and copy
	// it.
	KernelAction prepared;
	if (sigaction(kLender, &action, &lender_before) != 0)
		return number(info, -errno);
	error = kernel_action(kLender, nullptr, &prepared);
	sigaction(kLender, &lender_before, nullptr);
	if (error == 0)
		error = kernel_action(kSignal, &prepared, &before);
	if (error != 0)
		return number(info, -error);
	error = restrict_others(kSignal);
	// On a timeout the handler stays: the signal must not end the process in a late thread.
	if (error != ETIMEDOUT)
		kernel_action(kSignal, &before, nullptr);
	return number(info, -error);
}

void register_privileges(Napi::Env env, Napi::Object exports)
{
	define<restrict_process>(env, exports, "restrictProcess");
}
