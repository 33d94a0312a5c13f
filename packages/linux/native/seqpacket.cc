// SOCK_SEQPACKET sockets that pass descriptors.
#include "environment.h"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// The kernel's limit of descriptors in one message (SCM_MAX_FD).
static constexpr size_t most_descriptors = 253;

static int open_socket(const std::string &path, struct sockaddr_un &address)
{
	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	if (path.size() >= sizeof(address.sun_path))
		broken_contract("a socket path is too long");
	memcpy(address.sun_path, path.data(), path.size());
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static Napi::Value closed_with_error(const Napi::CallbackInfo &info, int fd)
{
	int error = errno;

	close(fd);
	return number(info, -error);
}

static Napi::Value seqpacket_connect(const Napi::CallbackInfo &info)
{
	struct sockaddr_un address;
	int fd = open_socket(string_at(info, 0), address);

	if (fd < 0)
		return number(info, -errno);
	if (connect(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)) != 0)
		return closed_with_error(info, fd);
	return number(info, fd);
}

static Napi::Value seqpacket_listen(const Napi::CallbackInfo &info)
{
	struct sockaddr_un address;
	std::string path = string_at(info, 0);
	int fd = open_socket(path, address);

	if (fd < 0)
		return number(info, -errno);
	if (bind(fd, reinterpret_cast<struct sockaddr *>(&address), sizeof(address)) != 0)
		return closed_with_error(info, fd);
	if (listen(fd, int_at(info, 1)) != 0)
		return closed_with_error(info, fd);
	return number(info, fd);
}

static Napi::Value seqpacket_accept(const Napi::CallbackInfo &info)
{
	return result_of(info,
			 accept4(int_at(info, 0), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

union ControlBuffer {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int) * most_descriptors) + CMSG_SPACE(sizeof(struct ucred))];
};

static Napi::Value seqpacket_send(const Napi::CallbackInfo &info)
{
	Bytes bytes = bytes_at(info, 1);
	auto descriptors = info[2].As<Napi::Int32Array>();
	size_t count = descriptors.ElementLength();
	ControlBuffer control = {};
	struct iovec part = {bytes.data, bytes.length};
	struct msghdr message = {};

	message.msg_iov = &part;
	message.msg_iovlen = 1;
	if (count > most_descriptors)
		broken_contract("too many descriptors for one packet");
	if (count > 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(header), descriptors.Data(), sizeof(int) * count);
	}
	ssize_t sent;
	do
		sent = sendmsg(int_at(info, 0), &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return number(info, sent < 0 ? -errno : sent);
}

// Takes up to `capacity` descriptors and closes the others; returns the number received.
static size_t take_descriptors(struct msghdr &message, int32_t *into, size_t capacity)
{
	size_t came = 0;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != nullptr;
	     header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++, came++) {
			int fd;
			memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
			if (came < capacity)
				into[came] = fd;
			else
				close(fd);
		}
	}
	return came;
}

static Napi::Value seqpacket_receive(const Napi::CallbackInfo &info)
{
	Bytes bytes = bytes_at(info, 1);
	auto descriptors = info[2].As<Napi::Int32Array>();
	size_t capacity = descriptors.ElementLength();
	ControlBuffer control;
	struct iovec part = {bytes.data, bytes.length};
	struct msghdr message = {};
	ssize_t length;

	message.msg_iov = &part;
	message.msg_iovlen = 1;
	message.msg_control = control.bytes;
	message.msg_controllen = sizeof(control.bytes);
	do
		length = recvmsg(int_at(info, 0), &message, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		return number(info, -errno);
	size_t came = take_descriptors(message, descriptors.Data(), capacity);
	auto result = Napi::Object::New(info.Env());
	result.Set("length", static_cast<double>(length));
	result.Set("descriptors", static_cast<double>(came < capacity ? came : capacity));
	result.Set("truncated", (message.msg_flags & MSG_TRUNC) != 0);
	result.Set("descriptorsTruncated",
		   came > capacity || (message.msg_flags & MSG_CTRUNC) != 0);
	return result;
}

void register_seqpacket(Napi::Env env, Napi::Object exports)
{
	define<seqpacket_connect>(env, exports, "seqpacketConnect");
	define<seqpacket_listen>(env, exports, "seqpacketListen");
	define<seqpacket_accept>(env, exports, "seqpacketAccept");
	define<seqpacket_send>(env, exports, "seqpacketSend");
	define<seqpacket_receive>(env, exports, "seqpacketReceive");
}
