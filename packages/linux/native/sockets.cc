// Sockets: created inside a namespace with their options, then read and configured by descriptor.
#include "environment.h"
#include "namespace_scope.h"
#include "socket_address.h"

#include <bpf/bpf.h>

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <net/if.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

enum FailedStep {
	STEP_SOCKET = -1,
	STEP_BIND = -2,
	STEP_LISTEN = -3,
	STEP_CONNECT = -4,
	STEP_SETNS = -5,
	STEP_ADDRESS = -6,
};

enum Action {
	ACTION_NONE = 0,
	ACTION_LISTEN = 1,
	ACTION_CONNECT = 2,
};

struct SocketRequest {
	int family;
	int type;
	int protocol;
	const int32_t *options; // triples of level, option, value
	size_t option_count;
	socklen_t bind_length;
	SocketAddress bind_address;
	int action;
	int backlog;
	socklen_t connect_length;
	SocketAddress connect_address;
};

// Sets options, binds, and listens or connects. On failure returns -1 with errno set; `step` is the
// failed step.
static int prepare(int fd, const SocketRequest &request, int &step)
{
	for (size_t i = 0; i < request.option_count; i++) {
		const int32_t *option = request.options + i * 3;
		if (setsockopt(fd, option[0], option[1], &option[2], sizeof(option[2])) != 0) {
			step = static_cast<int>(i);
			return -1;
		}
	}
	step = STEP_BIND;
	if (request.bind_length != 0 &&
	    bind(fd, &request.bind_address.any, request.bind_length) != 0)
		return -1;
	step = STEP_LISTEN;
	if (request.action == ACTION_LISTEN)
		return listen(fd, request.backlog);
	step = STEP_CONNECT;
	if (request.action == ACTION_CONNECT &&
	    connect(fd, &request.connect_address.any, request.connect_length) != 0 &&
	    errno != EINPROGRESS)
		return -1;
	return 0;
}

// A socket stays in the namespace in which it was created, so only socket() must run inside.
static int make_socket(int namespace_fd, const SocketRequest &request, int &step)
{
	int fd;
	{
		NamespaceScope inside(namespace_fd);
		step = STEP_SETNS;
		if (inside.error() != 0)
			return -inside.error();
		step = STEP_SOCKET;
		fd = socket(request.family, request.type | SOCK_NONBLOCK | SOCK_CLOEXEC,
			    request.protocol);
	}
	if (fd < 0)
		return -errno;
	if (prepare(fd, request, step) == 0)
		return fd;
	int error = errno;
	close(fd);
	return -error;
}

// The interface name in an address such as fe80::1%eth0 belongs to the namespace.
static socklen_t address_inside(const Napi::CallbackInfo &info, const std::string &text,
				uint16_t port, int family, SocketAddress &into)
{
	NamespaceScope inside(text.find('%') == std::string::npos ? -1 : int_at(info, 0));

	return inside.error() != 0 ? 0 : parse_address(family, text, port, into);
}

static Napi::Value socket_open(const Napi::CallbackInfo &info)
{
	int &step = Environment::of(info.Env()).failed_step;
	auto options = info[4].As<Napi::Int32Array>();
	SocketRequest request = {};

	request.family = int_at(info, 1) == 4 ? AF_INET : AF_INET6;
	request.type = int_at(info, 2);
	request.protocol = int_at(info, 3);
	request.options = options.Data();
	request.option_count = options.ElementLength() / 3;
	request.action = int_at(info, 7);
	request.backlog = int_at(info, 8);
	step = STEP_ADDRESS;
	if (!info[5].IsUndefined()) {
		request.bind_length = address_inside(info, string_at(info, 5), uint_at(info, 6),
						     request.family, request.bind_address);
		if (request.bind_length == 0)
			return number(info, -EINVAL);
	}
	if (!info[9].IsUndefined()) {
		request.connect_length = address_inside(info, string_at(info, 9), uint_at(info, 10),
							request.family, request.connect_address);
		if (request.connect_length == 0)
			return number(info, -EINVAL);
	}
	return number(info, make_socket(int_at(info, 0), request, step));
}

static Napi::Value socket_failed_step(const Napi::CallbackInfo &info)
{
	return number(info, Environment::of(info.Env()).failed_step);
}

static Napi::Value socket_name(const Napi::CallbackInfo &info)
{
	SocketAddress address = {};
	socklen_t length = sizeof(address);
	bool peer = info[1].As<Napi::Boolean>().Value();
	int result = peer ? getpeername(int_at(info, 0), &address.any, &length)
			  : getsockname(int_at(info, 0), &address.any, &length);

	if (result != 0)
		return number(info, -errno);
	if (address.any.sa_family != AF_INET && address.any.sa_family != AF_INET6)
		return number(info, -EAFNOSUPPORT);
	return describe_address(info.Env(), address);
}

static Napi::Value socket_get_integer(const Napi::CallbackInfo &info)
{
	union {
		int32_t narrow;
		int64_t wide;
	} value = {};
	socklen_t length = sizeof(value);

	if (getsockopt(int_at(info, 0), int_at(info, 1), int_at(info, 2), &value, &length) != 0)
		return number(info, -errno);
	return Napi::BigInt::New(info.Env(), length == sizeof(value.wide)
						 ? value.wide
						 : static_cast<int64_t>(value.narrow));
}

/*
 * Without a program of this kind the kernel answers the last packet of a handshake whose listener
 * has closed with a reset (unless the sysctl tcp_migrate_req is set). The program chooses nothing:
 * the kernel's own choice, by hash, stays.
 */
static int load_migration()
{
	const struct bpf_insn program[] = {
	    {.code = BPF_ALU64 | BPF_MOV | BPF_K,
	     .dst_reg = BPF_REG_0,
	     .src_reg = 0,
	     .off = 0,
	     .imm = SK_PASS},
	    {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = BPF_SK_REUSEPORT_SELECT_OR_MIGRATE);
	return bpf_prog_load(BPF_PROG_TYPE_SK_REUSEPORT, "kmesh_migrate", "GPL", program,
			     sizeof(program) / sizeof(program[0]), &options);
}

// One program for all listeners of the process; never closed.
static int migration()
{
	static std::mutex mutex;
	static int program = -1;

	std::lock_guard<std::mutex> lock(mutex);
	if (program < 0)
		program = load_migration();
	return program;
}

static Napi::Value reuseport_migrate(const Napi::CallbackInfo &info)
{
	int program = migration();
	if (program < 0)
		return number(info, program);
	return result_of(info, setsockopt(int_at(info, 0), SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF,
					  &program, sizeof(program)));
}

void register_sockets(Napi::Env env, Napi::Object exports)
{
	define<socket_open>(env, exports, "socketOpen");
	define<socket_failed_step>(env, exports, "socketFailedStep");
	define<socket_name>(env, exports, "socketName");
	define<socket_get_integer>(env, exports, "socketGetInteger");
	define<reuseport_migrate>(env, exports, "reuseportMigrate");
}
