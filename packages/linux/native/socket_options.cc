// Questions to and settings of an existing socket.
#include "environment.h"
#include "socket_address.h"

#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

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

static Napi::Value socket_unread_bytes(const Napi::CallbackInfo &info)
{
	int unread = 0;

	return number(info, ioctl(int_at(info, 0), SIOCINQ, &unread) == 0 ? unread : -errno);
}

// Takes up to a number of bytes by splice, and drops them.
static Napi::Value socket_splice_away(const Napi::CallbackInfo &info)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return number(info, -errno);
	ssize_t moved = splice(int_at(info, 0), nullptr, ends[1], nullptr,
			       static_cast<size_t>(int_at(info, 1)), SPLICE_F_NONBLOCK);
	int error = errno;
	close(ends[0]);
	close(ends[1]);
	return number(info, moved < 0 ? -error : static_cast<int>(moved));
}

static Napi::Value socket_tcp_info(const Napi::CallbackInfo &info)
{
	struct tcp_info tcp = {};
	socklen_t length = sizeof(tcp);

	if (getsockopt(int_at(info, 0), IPPROTO_TCP, TCP_INFO, &tcp, &length) != 0)
		return number(info, -errno);
	const uint64_t values[] = {
	    tcp.tcpi_state,	     tcp.tcpi_rtt,	     tcp.tcpi_rttvar,
	    tcp.tcpi_min_rtt,	     tcp.tcpi_total_retrans, tcp.tcpi_bytes_acked,
	    tcp.tcpi_bytes_received, tcp.tcpi_segs_out,	     tcp.tcpi_segs_in,
	    tcp.tcpi_snd_cwnd,
	};
	size_t count = sizeof(values) / sizeof(values[0]);
	auto result = Napi::BigUint64Array::New(info.Env(), count);
	for (size_t i = 0; i < count; i++)
		result[i] = values[i];
	return result;
}

void register_socket_options(Napi::Env env, Napi::Object exports)
{
	define<socket_name>(env, exports, "socketName");
	define<socket_get_integer>(env, exports, "socketGetInteger");
	define<socket_unread_bytes>(env, exports, "socketUnreadBytes");
	define<socket_splice_away>(env, exports, "socketSpliceAway");
	define<socket_tcp_info>(env, exports, "socketTcpInfo");
}
