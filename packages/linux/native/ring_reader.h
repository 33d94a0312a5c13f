// Reads the memory of a BPF ring buffer, as its single consumer.
#pragma once

#include <cstddef>
#include <cstdint>

// Packs records into batches; one record never spans two.
struct Batch {
	uint8_t *memory;
	size_t capacity;
	size_t bytes = 0;
	uint32_t count = 0;
};

class RingReader
{
      public:
	// record_size 0: records of varying size, each with a length prefix.
	RingReader(int map, size_t record_size);
	~RingReader();
	RingReader(const RingReader &) = delete;
	RingReader &operator=(const RingReader &) = delete;

	// 0, or the errno of the failed mapping.
	int error() const
	{
		return error_;
	}

	// Moves records into the batch until it is full, has `most` records, or the ring is empty.
	void fill(Batch &batch, uint32_t most);

	// Pending bytes, including headers.
	uint64_t pending() const;

	// Lost records: too large for a batch, or not of the fixed size.
	uint64_t misfits() const
	{
		return __atomic_load_n(&misfits_, __ATOMIC_RELAXED);
	}

	size_t size() const
	{
		return size_;
	}

      private:
	bool place(Batch &batch, const uint8_t *record, uint32_t length);
	// Returns `length` bytes of the ring at a position, or nullptr if they cannot be mapped.
	const uint8_t *at(unsigned long position, size_t length);

	int map_;

	size_t record_size_;
	size_t page_;
	size_t size_ = 0;
	int error_ = 0;
	uint64_t misfits_ = 0;
	unsigned long *consumer_ = nullptr;
	const unsigned long *producer_ = nullptr;
	// The mapped part of the data.
	const uint8_t *window_ = nullptr;
	size_t window_begin_ = 0;
	size_t window_length_ = 0;
};
