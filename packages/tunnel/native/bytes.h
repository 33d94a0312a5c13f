/* Buffered bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <atomic>
#include <memory>
#include <utility>

namespace kmesh::tunnel
{

/*
 * Memory of bytes that a receiver has not taken yet, of one HTTP/2 connection or of a data thread's
 * plain connections. Each may hold as much as is free, so that the same amount always stays free
 * for others: a single greedy one gets half, two get a third each.
 */
class HeldBytes
{
      public:
	/* For all data threads. Receive windows alone do not bound it: a peer may open any number
	 * of connections, and a stream may end before its bytes are delivered. */
	static constexpr size_t kLimit = 256 << 20;

	void add(size_t length)
	{
		held_ += length;
		total_.fetch_add(length, std::memory_order_relaxed);
	}
	void remove(size_t length)
	{
		held_ -= length;
		total_.fetch_sub(length, std::memory_order_relaxed);
	}
	/* Whether more may be read for it. */
	bool admits() const
	{
		return held_ < kAlways || held_ < free();
	}
	/* Whether it holds little: less than a quarter of what is free. */
	bool holdsLittle() const
	{
		return held_ < free() / 4;
	}
	static size_t free()
	{
		size_t total = total_.load(std::memory_order_relaxed);
		return total < kLimit ? kLimit - total : 0;
	}

      private:
	/* Minimum, even when nothing is free. */
	static constexpr size_t kAlways = 64 << 10;

	size_t held_ = 0;
	static inline std::atomic<size_t> total_{0};
};

/*
 * A queue of bytes in blocks. It grows and shrinks by one block at a time, so nothing is moved, and
 * free blocks are kept for the next queue of the thread, up to a few megabytes. A contiguous
 * buffer would be copied as it grows, and freed and zeroed again in
 * every turn, which took a quarter of the engine's time.
 */
class ByteQueue
{
      public:
	ByteQueue() = default;
	ByteQueue(const ByteQueue &) = delete;
	ByteQueue &operator=(const ByteQueue &) = delete;
	~ByteQueue()
	{
		reset();
	}
	/* Counts the blocks that are added from now on as held. */
	void countIn(std::shared_ptr<HeldBytes> held)
	{
		held_ = std::move(held);
	}
	bool empty() const
	{
		return size_ == 0;
	}
	size_t size() const
	{
		return size_;
	}
	void append(const uint8_t *from, size_t length);
	/* Appends all blocks of another queue. */
	void append(ByteQueue &other);
	/* Moves up to `room` bytes from the front; returns how many. */
	size_t take(uint8_t *into, size_t room);
	/* Sends from the front like `send`, and drops the sent bytes. */
	ssize_t sendTo(int fd);
	void swap(ByteQueue &other)
	{
		std::swap(first_, other.first_);
		std::swap(last_, other.last_);
		std::swap(size_, other.size_);
	}
	void reset();

      private:
	struct Block;

	void consume(size_t length);
	void dropFirst();

	Block *first_ = nullptr;
	Block *last_ = nullptr;
	size_t size_ = 0;
	std::shared_ptr<HeldBytes> held_;
};

} // namespace kmesh::tunnel
