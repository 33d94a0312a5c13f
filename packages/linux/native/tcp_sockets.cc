// TCP sockets of a network namespace, listed and destroyed over netlink (NETLINK_SOCK_DIAG).
#include "environment.h"
#include "namespace_scope.h"
#include "netlink.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <vector>

namespace
{

// One socket of a list. TypeScript reads it by the offsets that tcpSocketLayout returns.
struct SocketRecord {
	uint64_t cookie;
	uint64_t bytes_acked;
	uint64_t bytes_received;
	uint8_t local[16]; // IPv4 addresses are mapped
	uint8_t remote[16];
	uint16_t local_port; // in network byte order, like all ports here
	uint16_t remote_port;
	uint8_t state;
	uint8_t family;
	uint16_t reserved;
	uint32_t receive_queue;
	uint32_t send_queue;
	uint32_t interface;
	uint32_t mark; // 0 without CAP_NET_ADMIN
	uint32_t inode;
};
static_assert(sizeof(SocketRecord) % 8 == 0);

// The older form of the request: lists both address families in one pass over the kernel's hash
// table, which all namespaces share.
struct DumpRequest {
	nlmsghdr header;
	inet_diag_req diag;
};

struct DestroyRequest {
	nlmsghdr header;
	inet_diag_req_v2 diag;
};

struct List {
	std::vector<uint8_t> bytes;
	uint32_t count = 0;
};

void copy_address(uint8_t (&into)[16], int family, const __be32 (&address)[4])
{
	if (family == AF_INET) {
		into[10] = into[11] = 0xff;
		memcpy(into + 12, address, sizeof(address[0]));
	} else {
		memcpy(into, address, sizeof(into));
	}
}

void take_tcp_info(const void *data, size_t size, SocketRecord &record)
{
	tcp_info tcp = {};

	memcpy(&tcp, data, size < sizeof(tcp) ? size : sizeof(tcp));
	// The header's state was read without the socket's lock; this state is consistent with the
	// counters.
	record.state = tcp.tcpi_state;
	record.bytes_acked = tcp.tcpi_bytes_acked;
	record.bytes_received = tcp.tcpi_bytes_received;
}

void take_socket(const nlmsghdr *message, List &list)
{
	auto *socket = static_cast<const inet_diag_msg *>(NLMSG_DATA(message));
	SocketRecord record = {};

	record.cookie =
	    socket->id.idiag_cookie[0] | static_cast<uint64_t>(socket->id.idiag_cookie[1]) << 32;
	copy_address(record.local, socket->idiag_family, socket->id.idiag_src);
	copy_address(record.remote, socket->idiag_family, socket->id.idiag_dst);
	record.local_port = socket->id.idiag_sport;
	record.remote_port = socket->id.idiag_dport;
	record.state = socket->idiag_state;
	record.family = socket->idiag_family;
	record.receive_queue = socket->idiag_rqueue;
	record.send_queue = socket->idiag_wqueue;
	record.interface = socket->id.idiag_if;
	record.inode = socket->idiag_inode;
	each_attribute(socket + 1, NLMSG_PAYLOAD(message, sizeof(*socket)),
		       [&](int type, const void *data, size_t size) {
			       if (type == INET_DIAG_INFO)
				       take_tcp_info(data, size, record);
			       else if (type == INET_DIAG_MARK && size == sizeof(record.mark))
				       memcpy(&record.mark, data, size);
		       });
	auto *bytes = reinterpret_cast<const uint8_t *>(&record);
	list.bytes.insert(list.bytes.end(), bytes, bytes + sizeof(record));
	list.count++;
}

DumpRequest dump_request(uint32_t states)
{
	DumpRequest request = {};

	request.header.nlmsg_len = sizeof(request);
	request.header.nlmsg_type = TCPDIAG_GETSOCK;
	request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	request.diag.idiag_ext = 1 << (INET_DIAG_INFO - 1);
	request.diag.idiag_states = states;
	return request;
}

// A request that a thread of the pool sends in a namespace; resolves with `result()`, or with a
// negated errno.
class DiagWorker : public Napi::AsyncWorker
{
      public:
	// Duplicates the descriptor: its owner may close it before the thread enters the namespace.
	DiagWorker(Napi::Env env, const char *name, int namespace_fd)
	    : AsyncWorker(env, name), deferred(Napi::Promise::Deferred::New(env)),
	      namespace_fd_(fcntl(namespace_fd, F_DUPFD_CLOEXEC, 3)),
	      failed_(namespace_fd_ < 0 ? errno : 0)
	{
	}
	~DiagWorker() override
	{
		if (namespace_fd_ >= 0)
			close(namespace_fd_);
	}

	Napi::Promise::Deferred deferred;

	// Returns 0 or an errno.
	virtual int run(Netlink &netlink) = 0;
	virtual Napi::Value result() = 0;

	void Execute() override
	{
		if (failed_ != 0)
			return;
		NamespaceScope inside(namespace_fd_);
		failed_ = inside.error();
		if (failed_ != 0)
			return;
		Netlink netlink(NETLINK_SOCK_DIAG);
		failed_ = run(netlink);
	}

	void OnOK() override
	{
		if (can_run(Env()))
			deferred.Resolve(failed_ == 0 ? result()
						      : Napi::Number::New(Env(), -failed_));
	}

      private:
	int namespace_fd_;
	int failed_;
};

class ListWorker : public DiagWorker
{
      public:
	ListWorker(Napi::Env env, int namespace_fd, uint32_t states)
	    : DiagWorker(env, "kmesh:tcp-sockets", namespace_fd), states_(states)
	{
	}

	int run(Netlink &netlink) override
	{
		const DumpRequest request = dump_request(states_);

		return netlink.ask(request.header, [this](const nlmsghdr *message) {
			take_socket(message, list_);
		});
	}

	Napi::Value result() override
	{
		auto list = Napi::Object::New(Env());
		list.Set("count", list_.count);
		list.Set("bytes", Napi::Buffer<uint8_t>::Copy(Env(), list_.bytes.data(),
							      list_.bytes.size()));
		return list;
	}

      private:
	uint32_t states_;
	List list_;
};

class DestroyWorker : public DiagWorker
{
      public:
	DestroyWorker(Napi::Env env, int namespace_fd, Bytes records, size_t record_size)
	    : DiagWorker(env, "kmesh:tcp-destroy", namespace_fd)
	{
		for (size_t at = 0; at + record_size <= records.length; at += record_size) {
			SocketRecord record;
			memcpy(&record, records.data + at, sizeof(record));
			records_.push_back(record);
		}
	}

	int run(Netlink &netlink) override
	{
		for (const SocketRecord &record : records_) {
			const DestroyRequest request = request_for(record);
			const int failed = netlink.ask(request.header, [](const nlmsghdr *) {});
			// The socket has already ended.
			if (failed == ENOENT || failed == ESTALE)
				continue;
			if (failed != 0)
				return failed;
			destroyed_++;
		}
		return 0;
	}

	Napi::Value result() override
	{
		return Napi::Number::New(Env(), destroyed_);
	}

      private:
	static DestroyRequest request_for(const SocketRecord &record)
	{
		const size_t skipped = record.family == AF_INET ? 12 : 0;
		DestroyRequest request = {};

		request.header.nlmsg_len = sizeof(request);
		request.header.nlmsg_type = SOCK_DESTROY;
		request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
		request.diag.sdiag_family = record.family;
		request.diag.sdiag_protocol = IPPROTO_TCP;
		request.diag.idiag_states = ~0U;
		request.diag.id.idiag_sport = record.local_port;
		request.diag.id.idiag_dport = record.remote_port;
		memcpy(request.diag.id.idiag_src, record.local + skipped,
		       sizeof(record.local) - skipped);
		memcpy(request.diag.id.idiag_dst, record.remote + skipped,
		       sizeof(record.remote) - skipped);
		request.diag.id.idiag_if = record.interface;
		request.diag.id.idiag_cookie[0] = static_cast<uint32_t>(record.cookie);
		request.diag.id.idiag_cookie[1] = static_cast<uint32_t>(record.cookie >> 32);
		return request;
	}

	std::vector<SocketRecord> records_;
	uint32_t destroyed_ = 0;
};

Napi::Value queued(DiagWorker *worker)
{
	worker->Queue();
	return worker->deferred.Promise();
}

Napi::Value tcp_sockets(const Napi::CallbackInfo &info)
{
	return queued(new ListWorker(info.Env(), int_at(info, 0), uint_at(info, 1)));
}

Napi::Value tcp_sockets_destroy(const Napi::CallbackInfo &info)
{
	return queued(
	    new DestroyWorker(info.Env(), int_at(info, 0), bytes_at(info, 1), uint_at(info, 2)));
}

Napi::Value probe_tcp_sockets(const Napi::CallbackInfo &info)
{
	Netlink netlink(NETLINK_SOCK_DIAG);
	const DumpRequest request = dump_request(0);

	return number(info, -netlink.ask(request.header, [](const nlmsghdr *) {}));
}

Napi::Value tcp_socket_layout(const Napi::CallbackInfo &info)
{
	auto layout = Napi::Object::New(info.Env());

	layout.Set("size", sizeof(SocketRecord));
	layout.Set("cookie", offsetof(SocketRecord, cookie));
	layout.Set("bytesAcked", offsetof(SocketRecord, bytes_acked));
	layout.Set("bytesReceived", offsetof(SocketRecord, bytes_received));
	layout.Set("local", offsetof(SocketRecord, local));
	layout.Set("remote", offsetof(SocketRecord, remote));
	layout.Set("localPort", offsetof(SocketRecord, local_port));
	layout.Set("remotePort", offsetof(SocketRecord, remote_port));
	layout.Set("state", offsetof(SocketRecord, state));
	layout.Set("receiveQueue", offsetof(SocketRecord, receive_queue));
	layout.Set("mark", offsetof(SocketRecord, mark));
	layout.Set("inode", offsetof(SocketRecord, inode));
	return layout;
}

} // namespace

void register_tcp_sockets(Napi::Env env, Napi::Object exports)
{
	define<tcp_sockets>(env, exports, "tcpSockets");
	define<tcp_sockets_destroy>(env, exports, "tcpSocketsDestroy");
	define<probe_tcp_sockets>(env, exports, "probeTcpSockets");
	define<tcp_socket_layout>(env, exports, "tcpSocketLayout");
}
