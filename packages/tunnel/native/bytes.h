/* Buffered bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <utility>

namespace kmesh::tunnel
{

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
};

} // namespace kmesh::tunnel
