#include "lingering.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "engine.h"

namespace kmesh::tunnel
{

/* How long a peer may take to acknowledge anything. */
static constexpr uint64_t kStallMs = 30000;
/* A peer that leaves so many retransmissions unanswered, for some 3 s, is gone. */
static constexpr int kUnanswered = 4;
/* More sockets than this are not worth their descriptors: one is closed. */
static constexpr size_t kSockets = 256;
static constexpr uint32_t kFirstLookMs = 5;
static constexpr uint32_t kLongestLookMs = 200;
/* Discarding reads per turn. */
static constexpr int kDiscards = 4;
static constexpr size_t kDiscardBytes = 1 << 20;

size_t unacknowledgedBytes(int fd)
{
	int count = 0;
	return ioctl(fd, SIOCOUTQ, &count) == 0 && count > 0 ? static_cast<size_t>(count) : 0;
}

/* A peer whose buffer is full is there: it answers probes, which are no retransmissions. */
static bool isGone(int fd)
{
	tcp_info info = {};
	socklen_t length = sizeof info;
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
	       info.tcpi_retransmits >= kUnanswered;
}

Input discardInput(int fd)
{
	for (int turn = 0; turn < kDiscards; turn++) {
		/* Discards on a TCP socket, without copying. */
		ssize_t got = recv(fd, nullptr, kDiscardBytes, MSG_TRUNC);
		if (got < 0 && errno == EAGAIN)
			return Input::NoneNow;
		if (got == 0 || (got < 0 && errno != EINTR))
			return Input::Ended;
	}
	return Input::More;
}

class LingeringSocket final : public Pollable
{
      public:
	LingeringSocket(LingeringSockets &all, Engine &engine, uint64_t id, int fd,
			ByteQueue &unsent, bool trusted)
	    : id(id), trusted(trusted), all_(all), engine_(engine), fd_(fd)
	{
		unsent_.swap(unsent);
		since_ = engine.nowMs();
	}
	~LingeringSocket() override
	{
		finish();
	}
	void onEvents(uint32_t) override
	{
		step();
	}
	void begin()
	{
		engine_.watch(fd_, this, interest());
		step();
		if (fd_ >= 0)
			look();
	}
	/* Closes the socket when its peer has taken everything, or takes nothing for too long. */
	void look()
	{
		size_t waiting = unsent_.size() + unacknowledgedBytes(fd_);
		if (waiting != waiting_) {
			waiting_ = waiting;
			since_ = engine_.nowMs();
		}
		int counts = waiting > 0 && !isGone(fd_);
		all_.unacknowledged_ += counts - counted_;
		counted_ = counts;
		if (engine_.nowMs() - since_ >= (waiting > 0 ? kStallMs : kLingerMs)) {
			all_.close(this);
			return;
		}
		engine_.schedule(lookMs_, id, TimerKind::Lingering);
		lookMs_ = std::min(lookMs_ * 2, kLongestLookMs);
	}
	void finish()
	{
		if (fd_ < 0)
			return;
		engine_.unwatch(fd_);
		::close(fd_);
		fd_ = -1;
		all_.unacknowledged_ -= counted_;
		counted_ = 0;
	}
	const uint64_t id;
	const bool trusted;

      private:
	void step()
	{
		if (fd_ < 0)
			return;
		bool sending = sendRest();
		inputEnded_ = inputEnded_ || discardInput(fd_) == Input::Ended;
		/* After the peer's FIN close() sends no RST, and delivers the rest. */
		if (!sending || (inputEnded_ && unsent_.empty()))
			all_.close(this);
		else
			engine_.rewatch(fd_, this, interest());
	}
	uint32_t interest() const
	{
		uint32_t events = 0;
		if (!inputEnded_)
			events |= EPOLLIN;
		if (!unsent_.empty())
			events |= EPOLLOUT;
		return events;
	}
	/* Returns false when the connection has failed. */
	bool sendRest()
	{
		while (!unsent_.empty()) {
			if (unsent_.sendTo(fd_) < 0 && errno != EINTR)
				return errno == EAGAIN;
		}
		if (!ended_)
			shutdown(fd_, SHUT_WR);
		ended_ = true;
		return true;
	}

	LingeringSockets &all_;
	Engine &engine_;
	int fd_;
	ByteQueue unsent_;
	bool ended_ = false, inputEnded_ = false;
	int counted_ = 0;
	size_t waiting_ = 0;
	uint64_t since_ = 0;
	uint32_t lookMs_ = kFirstLookMs;
};

LingeringSockets::LingeringSockets(Engine &engine) : engine_(engine)
{
}

LingeringSockets::~LingeringSockets() = default;

void LingeringSockets::add(int fd, ByteQueue &unsent, bool trusted)
{
	/* Strangers make room first: anybody can fail in a handshake. */
	if (sockets_.size() >= kSockets) {
		auto oldest = std::find_if(sockets_.begin(), sockets_.end(),
					   [](const auto &one) { return !one.second->trusted; });
		if (oldest == sockets_.end() && !trusted) {
			::close(fd);
			return;
		}
		if (oldest == sockets_.end())
			oldest = sockets_.begin();
		close(oldest->second.get());
	}
	uint64_t id = engine_.nextId();
	auto socket = std::make_unique<LingeringSocket>(*this, engine_, id, fd, unsent, trusted);
	LingeringSocket &added = *socket;
	sockets_.emplace(id, std::move(socket));
	added.begin();
}

void LingeringSockets::look(uint64_t id)
{
	auto found = sockets_.find(id);
	if (found != sockets_.end())
		found->second->look();
}

void LingeringSockets::close(LingeringSocket *socket)
{
	auto found = sockets_.find(socket->id);
	if (found == sockets_.end())
		return;
	socket->finish();
	closed_.push_back(std::move(found->second));
	sockets_.erase(found);
}

void LingeringSockets::endTurn()
{
	closed_.clear();
}

void LingeringSockets::closeAll()
{
	sockets_.clear();
	closed_.clear();
}

} // namespace kmesh::tunnel
