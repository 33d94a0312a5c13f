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
	// record_size 0: records of varying size, each with its length before it.
	RingReader(int map, size_t record_size);
	~RingReader();
	RingReader(const RingReader &) = delete;
	RingReader &operator=(const RingReader &) = delete;

	// 0, or the errno with which mapping the memory failed.
	int error() const
	{
		return error_;
	}

	// Moves records into the batch until it is full, has `most` records, or nothing is left.
	void fill(Batch &batch, uint32_t most);

	// Bytes that wait, headers included.
	uint64_t pending() const;

	// Records that did not fit a batch or were not of the fixed size; they are lost.
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
	// `length` bytes of the ring from a position on, or nullptr when they cannot be mapped.
	const uint8_t *at(unsigned long position, size_t length);

	int map_;

	size_t record_size_;
	size_t page_;
	size_t size_ = 0;
	int error_ = 0;
	uint64_t misfits_ = 0;
	unsigned long *consumer_ = nullptr;
	const unsigned long *producer_ = nullptr;
	// The part of the data that is mapped now.
	const uint8_t *window_ = nullptr;
	size_t window_begin_ = 0;
	size_t window_length_ = 0;
};
