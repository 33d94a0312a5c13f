// Datagrams in batches: one system call carries up to as many as the caller's memory has slots.
#include "environment.h"
#include "namespace_scope.h"
#include "socket_address.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

// Layout of a slot: length of the payload, length of the address, address, payload.
struct Slot {
	uint32_t length;
	uint32_t address_length;
	SocketAddress address;
};

constexpr size_t payload_offset = 40;
constexpr uint32_t too_long = 0xffffffff;
constexpr int most_slots = 64;

static_assert(sizeof(Slot) <= payload_offset);

struct Batch {
	struct mmsghdr messages[most_slots];
	struct iovec vectors[most_slots];
};

static Slot *slot_at(const Bytes &memory, size_t slot_bytes, int index)
{
	return reinterpret_cast<Slot *>(memory.data + slot_bytes * index);
}

static void prepare(Batch &batch, const Bytes &memory, size_t slot_bytes, int count, bool sending)
{
	memset(batch.messages, 0, sizeof(batch.messages[0]) * count);
	for (int i = 0; i < count; i++) {
		Slot *slot = slot_at(memory, slot_bytes, i);
		struct msghdr &header = batch.messages[i].msg_hdr;
		batch.vectors[i].iov_base = reinterpret_cast<uint8_t *>(slot) + payload_offset;
		batch.vectors[i].iov_len = sending ? slot->length : slot_bytes - payload_offset;
		header.msg_iov = &batch.vectors[i];
		header.msg_iovlen = 1;
		header.msg_name = &slot->address;
		header.msg_namelen = sending ? slot->address_length : sizeof(slot->address);
	}
}

// (fd, memory, slot bytes, slots) → number of received datagrams, or a negated errno.
static Napi::Value datagrams_receive(const Napi::CallbackInfo &info)
{
	Bytes memory = bytes_at(info, 1);
	size_t slot_bytes = uint_at(info, 2);
	int count = std::min(int_at(info, 3), most_slots);
	Batch batch;

	prepare(batch, memory, slot_bytes, count, false);
	int received = recvmmsg(int_at(info, 0), batch.messages, count, MSG_DONTWAIT, nullptr);
	if (received < 0)
		return number(info, -errno);
	for (int i = 0; i < received; i++) {
		Slot *slot = slot_at(memory, slot_bytes, i);
		const struct mmsghdr &message = batch.messages[i];
		slot->length = message.msg_hdr.msg_flags & MSG_TRUNC ? too_long : message.msg_len;
		slot->address_length = message.msg_hdr.msg_namelen;
	}
	return number(info, received);
}

// (fd, memory, slot bytes, slots) → number of sent datagrams. Skips datagrams that the kernel
// refuses; a full send buffer ends the batch.
static Napi::Value datagrams_send(const Napi::CallbackInfo &info)
{
	Bytes memory = bytes_at(info, 1);
	size_t slot_bytes = uint_at(info, 2);
	int count = std::min(int_at(info, 3), most_slots);
	int next = 0;
	int sent = 0;
	Batch batch;

	prepare(batch, memory, slot_bytes, count, true);
	while (next < count) {
		int done =
		    sendmmsg(int_at(info, 0), batch.messages + next, count - next, MSG_DONTWAIT);
		if (done < 0 && (errno == EAGAIN || errno == ENOBUFS))
			break;
		next += done < 0 ? 1 : done;
		sent += done < 0 ? 0 : done;
	}
	return number(info, sent);
}

// Opens a connected socket and sends its first datagram: (namespace, family, address, port, mark
// (0: none), payload) → descriptor, or a negated errno.
static Napi::Value datagram_ask(const Napi::CallbackInfo &info)
{
	int family = int_at(info, 1) == 4 ? AF_INET : AF_INET6;
	Bytes payload = bytes_at(info, 5);
	uint32_t mark = uint_at(info, 4);
	SocketAddress server;
	socklen_t length = parse_address(family, string_at(info, 2), uint_at(info, 3), server);
	int fd;

	if (length == 0)
		return number(info, -EINVAL);
	{
		NamespaceScope inside(int_at(info, 0));
		if (inside.error() != 0)
			return number(info, -inside.error());
		fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	}
	if (fd < 0)
		return number(info, -errno);
	if ((mark != 0 && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0) ||
	    connect(fd, &server.any, length) != 0) {
		int error = errno;
		close(fd);
		return number(info, -error);
	}
	// A datagram may be lost, so a failed send is ignored.
	send(fd, payload.data, payload.length, MSG_DONTWAIT | MSG_NOSIGNAL);
	return number(info, fd);
}

static Napi::Value datagram_receive(const Napi::CallbackInfo &info)
{
	Bytes into = bytes_at(info, 1);

	return result_of(
	    info, static_cast<int>(recv(int_at(info, 0), into.data, into.length, MSG_DONTWAIT)));
}

// Connects the socket to itself: a connected socket receives only from its peer, so new datagrams
// go to the other sockets of the port.
static Napi::Value datagram_retire(const Napi::CallbackInfo &info)
{
	SocketAddress own = {};
	socklen_t length = sizeof(own);
	int fd = int_at(info, 0);

	if (getsockname(fd, &own.any, &length) != 0)
		return number(info, -errno);
	return result_of(info, connect(fd, &own.any, length));
}

// Offset of the payload in a slot, asserted by datagrams.ts.
static Napi::Value datagram_payload_offset(const Napi::CallbackInfo &info)
{
	return number(info, payload_offset);
}

void register_datagrams(Napi::Env env, Napi::Object exports)
{
	define<datagram_payload_offset>(env, exports, "datagramPayloadOffset");
	define<datagrams_receive>(env, exports, "datagramsReceive");
	define<datagrams_send>(env, exports, "datagramsSend");
	define<datagram_ask>(env, exports, "datagramAsk");
	define<datagram_receive>(env, exports, "datagramReceive");
	define<datagram_retire>(env, exports, "datagramRetire");
}
