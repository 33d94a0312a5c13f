/* Bytes that wait for their turn. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <vector>

namespace kmesh::tunnel
{

/* A byte queue with a cheap front. */
class ByteQueue
{
      public:
	bool empty() const
	{
		return offset_ == bytes_.size();
	}
	size_t size() const
	{
		return bytes_.size() - offset_;
	}
	const uint8_t *data() const
	{
		return bytes_.data() + offset_;
	}
	void append(const uint8_t *from, size_t length)
	{
		/* Doubling a large queue would hold twice what flow control allows. */
		size_t need = bytes_.size() + length;
		if (need > bytes_.capacity() && bytes_.capacity() >= kStep)
			bytes_.reserve(
			    need > bytes_.capacity() + kStep ? need : bytes_.capacity() + kStep);
		bytes_.insert(bytes_.end(), from, from + length);
	}
	void consume(size_t length)
	{
		offset_ += length;
		if (offset_ == bytes_.size()) {
			bytes_.clear();
			offset_ = 0;
			if (bytes_.capacity() > kKeep)
				std::vector<uint8_t>().swap(bytes_);
		} else if (offset_ > kKeep && offset_ * 2 > bytes_.size()) {
			bytes_.erase(bytes_.begin(),
				     bytes_.begin() + static_cast<ptrdiff_t>(offset_));
			offset_ = 0;
		}
	}
	void release()
	{
		std::vector<uint8_t>().swap(bytes_);
		offset_ = 0;
	}
	void swap(ByteQueue &other)
	{
		bytes_.swap(other.bytes_);
		std::swap(offset_, other.offset_);
	}
	void reset()
	{
		bytes_.clear();
		offset_ = 0;
	}

      private:
	static constexpr size_t kKeep = 32 << 10;
	static constexpr size_t kStep = 512 << 10;
	std::vector<uint8_t> bytes_;
	size_t offset_ = 0;
};

} // namespace kmesh::tunnel
