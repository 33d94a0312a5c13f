#include "bytes.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <new>

namespace kmesh::tunnel
{

struct ByteQueue::Block {
	Block *next;
	uint32_t capacity;
	/* Unread bytes are from begin to end. */
	uint32_t begin, end;
	std::shared_ptr<HeldBytes> held;

	uint8_t *bytes()
	{
		return reinterpret_cast<uint8_t *>(this + 1);
	}
};

namespace
{

/* A short queue uses a small block: a slow peer costs a page. */
constexpr size_t kSmallBlock = 4 << 10;
constexpr size_t kLargeBlock = 64 << 10;
/* Maximum number of free large blocks per thread. */
constexpr size_t kKept = 32;
/* Maximum number of blocks per system call. */
constexpr size_t kVectors = 16;

/* Per thread, so no locks are needed. */
struct FreeBlocks {
	void *blocks[kKept];
	size_t count = 0;

	~FreeBlocks()
	{
		while (count > 0)
			::operator delete(blocks[--count]);
	}
};

thread_local FreeBlocks freeBlocks;

void *allocate(size_t size)
{
	if (size == kLargeBlock && freeBlocks.count > 0)
		return freeBlocks.blocks[--freeBlocks.count];
	return ::operator new(size);
}

void giveBack(void *block, size_t size)
{
	if (size == kLargeBlock && freeBlocks.count < kKept)
		freeBlocks.blocks[freeBlocks.count++] = block;
	else
		::operator delete(block);
}

} // namespace

void ByteQueue::append(const uint8_t *from, size_t length)
{
	while (length > 0) {
		if (last_ == nullptr || last_->end == last_->capacity) {
			bool small = last_ == nullptr && length <= kSmallBlock - sizeof(Block);
			size_t size = small ? kSmallBlock : kLargeBlock;
			auto *block = new (allocate(size)) Block{
			    nullptr, static_cast<uint32_t>(size - sizeof(Block)), 0, 0, held_};
			if (held_ != nullptr)
				held_->add(size);
			if (last_ == nullptr)
				first_ = block;
			else
				last_->next = block;
			last_ = block;
		}
		size_t part = std::min<size_t>(length, last_->capacity - last_->end);
		memcpy(last_->bytes() + last_->end, from, part);
		last_->end += static_cast<uint32_t>(part);
		size_ += part;
		from += part;
		length -= part;
	}
}

void ByteQueue::append(ByteQueue &other)
{
	if (other.first_ == nullptr)
		return;
	if (last_ == nullptr)
		first_ = other.first_;
	else
		last_->next = other.first_;
	last_ = other.last_;
	size_ += other.size_;
	other.first_ = other.last_ = nullptr;
	other.size_ = 0;
}

size_t ByteQueue::take(uint8_t *into, size_t room)
{
	size_t taken = 0;
	while (taken < room && first_ != nullptr) {
		size_t part = std::min<size_t>(room - taken, first_->end - first_->begin);
		memcpy(into + taken, first_->bytes() + first_->begin, part);
		taken += part;
		consume(part);
	}
	return taken;
}

ssize_t ByteQueue::sendTo(int fd)
{
	iovec parts[kVectors];
	size_t count = 0;
	for (Block *block = first_; block != nullptr && count < kVectors; block = block->next)
		parts[count++] = {block->bytes() + block->begin, block->end - block->begin};
	msghdr message{};
	message.msg_iov = parts;
	message.msg_iovlen = count;
	ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	if (sent > 0)
		consume(static_cast<size_t>(sent));
	return sent;
}

void ByteQueue::consume(size_t length)
{
	size_ -= length;
	while (length > 0) {
		size_t part = std::min<size_t>(length, first_->end - first_->begin);
		first_->begin += static_cast<uint32_t>(part);
		length -= part;
		if (first_->begin == first_->end)
			dropFirst();
	}
}

void ByteQueue::reset()
{
	while (first_ != nullptr)
		dropFirst();
	size_ = 0;
}

void ByteQueue::dropFirst()
{
	Block *block = first_;
	first_ = block->next;
	if (first_ == nullptr)
		last_ = nullptr;
	size_t size = block->capacity + sizeof(Block);
	if (block->held != nullptr)
		block->held->remove(size);
	block->~Block();
	giveBack(block, size);
}

} // namespace kmesh::tunnel
