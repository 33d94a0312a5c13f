// Requests over netlink, in the network namespace in which the socket was created.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

class Netlink
{
      public:
	// `protocol`: NETLINK_ROUTE, NETLINK_SOCK_DIAG.
	explicit Netlink(int protocol)
	    : fd_(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)), buffer_(1 << 18)
	{
	}
	~Netlink()
	{
		if (fd_ >= 0)
			close(fd_);
	}
	Netlink(const Netlink &) = delete;
	Netlink &operator=(const Netlink &) = delete;

	// Sends a request and passes each message of the answer to `take`. Returns 0 or an errno.
	template <typename Take> int ask(const nlmsghdr &request, Take take)
	{
		if (fd_ < 0 || send(fd_, &request, request.nlmsg_len, 0) < 0)
			return errno;
		for (;;) {
			const ssize_t received = recv(fd_, buffer_.data(), buffer_.size(), 0);
			if (received < 0) {
				if (errno == EINTR)
					continue;
				return errno;
			}
			auto left = static_cast<unsigned int>(received);
			auto *message = reinterpret_cast<const nlmsghdr *>(buffer_.data());
			for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
				if (message->nlmsg_type == NLMSG_DONE)
					return 0;
				if (message->nlmsg_type == NLMSG_ERROR)
					return -static_cast<const nlmsgerr *>(NLMSG_DATA(message))
						    ->error;
				take(message);
				if ((message->nlmsg_flags & NLM_F_MULTI) == 0)
					return 0;
			}
		}
	}

      private:
	int fd_;
	std::vector<uint8_t> buffer_;
};

// Calls `take(type, data, size)` for each attribute of a list or of a nested attribute.
template <typename Take> void each_attribute(const void *first, size_t length, Take take)
{
	auto left = static_cast<unsigned int>(length);

	for (auto *attribute = static_cast<const rtattr *>(first); RTA_OK(attribute, left);
	     attribute = RTA_NEXT(attribute, left))
		take(attribute->rta_type & NLA_TYPE_MASK, RTA_DATA(attribute),
		     static_cast<size_t>(RTA_PAYLOAD(attribute)));
}
