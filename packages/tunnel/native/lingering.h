/* Sockets of ended sessions, until their peers have read the last bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "bytes.h"
#include "socket.h"

namespace kmesh::tunnel
{

class LingeringSocket;

/* How long input from a peer that acknowledged everything is discarded. */
inline constexpr uint64_t kLingerMs = 5000;

enum class Input {
	More,
	NoneNow,
	Ended,
};

/* Discards input of a TCP socket, as much as fits into a turn, and says what is left. */
Input discardInput(int fd);

/* Returns the bytes that a socket's peer has not acknowledged, including a FIN. */
size_t unacknowledgedBytes(int fd);

/*
 * close() answers input that was not read, or that comes later, with RST. The peer's kernel then
 * reports a failure before the alert, the GOAWAY or the tail of a response, and the own kernel
 * discards what was not sent yet. So input is discarded until the peer ends as well, or for some
 * seconds after it has acknowledged everything.
 */
class LingeringSockets
{
      public:
	explicit LingeringSockets(Engine &engine);
	~LingeringSockets();
	/* Takes the socket, which is not registered with epoll, and the bytes to send first.
	 * `trusted`: its peer has proved an identity. */
	void add(int fd, ByteQueue &unsent, bool trusted);
	void look(uint64_t id);
	void endTurn();
	void closeAll();
	/* Number of sockets whose peer has bytes to acknowledge. Callable from any thread. */
	int unacknowledged() const
	{
		return unacknowledged_;
	}

      private:
	friend class LingeringSocket;

	void close(LingeringSocket *socket);

	Engine &engine_;
	std::map<uint64_t, std::unique_ptr<LingeringSocket>> sockets_;
	/* Closed in this turn, whose remaining epoll events may name them. */
	std::vector<std::unique_ptr<LingeringSocket>> closed_;
	std::atomic<int> unacknowledged_{0};
};

} // namespace kmesh::tunnel
