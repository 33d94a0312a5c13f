// Network namespaces: open, create, identify, and run code inside.
#include "environment.h"
#include "namespace_scope.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

static int open_own_namespace()
{
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

// The namespace in which the process's threads live, opened before any of them has moved.
static int home_namespace()
{
	static const int fd = open_own_namespace();
	return fd;
}

NamespaceScope::NamespaceScope(int fd)
{
	if (fd < 0)
		return;
	if (home_namespace() < 0)
		error_ = EBADF;
	else if (setns(fd, CLONE_NEWNET) != 0)
		error_ = errno;
	else
		entered_ = true;
}

NamespaceScope::~NamespaceScope()
{
	int kept = errno;

	if (entered_ && setns(home_namespace(), CLONE_NEWNET) != 0)
		broken_contract("cannot return to the process's network namespace");
	errno = kept;
}

static Napi::Value namespace_open(const Napi::CallbackInfo &info)
{
	return result_of(info, open(string_at(info, 0).c_str(), O_RDONLY | O_CLOEXEC));
}

static int bring_loopback_up()
{
	struct ifreq request = {};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	strcpy(request.ifr_name, "lo");
	int result = ioctl(fd, SIOCGIFFLAGS, &request);
	request.ifr_flags |= IFF_UP;
	if (result == 0)
		result = ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
	return result;
}

// Creates the namespace on a new thread, which ends inside it, so that no other thread leaves its
// namespace.
static Napi::Value namespace_create(const Napi::CallbackInfo &info)
{
	int result = -1;

	std::thread([&result] {
		if (unshare(CLONE_NEWNET) != 0 || bring_loopback_up() != 0) {
			result = -errno;
			return;
		}
		result = open_own_namespace();
		if (result < 0)
			result = -errno;
	}).join();
	return number(info, result);
}

static Napi::Value namespace_type(const Napi::CallbackInfo &info)
{
	return result_of(info, ioctl(int_at(info, 0), NS_GET_NSTYPE));
}

static Napi::Value namespace_cookie(const Napi::CallbackInfo &info)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);
	int fd;
	{
		NamespaceScope inside(int_at(info, 0));
		if (inside.error() != 0)
			return number(info, -inside.error());
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	if (fd < 0)
		return number(info, -errno);
	int result = getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length);
	int error = errno;
	close(fd);
	if (result != 0)
		return number(info, -error);
	return Napi::BigInt::New(info.Env(), cookie);
}

void register_namespaces(Napi::Env env, Napi::Object exports)
{
	home_namespace();
	define<namespace_open>(env, exports, "namespaceOpen");
	define<namespace_create>(env, exports, "namespaceCreate");
	define<namespace_type>(env, exports, "namespaceType");
	define<namespace_cookie>(env, exports, "namespaceCookie");
}
