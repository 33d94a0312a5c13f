#include "ring_reader.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

// About 4,000 records of the usual size per call of mmap.
static const size_t window_bytes = 256 * 1024;

static size_t round_up(size_t value)
{
	return (value + 7) & ~static_cast<size_t>(7);
}

RingReader::RingReader(int map, size_t record_size)
    : map_(map), record_size_(record_size), page_(static_cast<size_t>(sysconf(_SC_PAGESIZE)))
{
	struct bpf_map_info info = {};
	uint32_t length = sizeof(info);

	if (bpf_map_get_info_by_fd(map, &info, &length) != 0) {
		error_ = errno;
		return;
	}
	size_ = info.max_entries;
	// Only the consumer's page is writable.
	void *consumer = mmap(nullptr, page_, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (consumer == MAP_FAILED) {
		error_ = errno;
		return;
	}
	consumer_ = static_cast<unsigned long *>(consumer);
	void *producer =
	    mmap(nullptr, page_, PROT_READ, MAP_SHARED, map, static_cast<off_t>(page_));
	if (producer == MAP_FAILED) {
		error_ = errno;
		return;
	}
	producer_ = static_cast<const unsigned long *>(producer);
}

RingReader::~RingReader()
{
	if (consumer_ != nullptr)
		munmap(consumer_, page_);
	if (producer_ != nullptr)
		munmap(const_cast<unsigned long *>(producer_), page_);
	if (window_ != nullptr)
		munmap(const_cast<uint8_t *>(window_), window_length_);
}

// Every mapped page of a ring counts as memory of the process, so only a window is mapped, which
// moves with the reader. The kernel maps the data twice in a row, so that no record wraps.
const uint8_t *RingReader::at(unsigned long position, size_t length)
{
	size_t begin = position & (size_ - 1);

	if (window_ != nullptr && begin >= window_begin_ &&
	    begin + length <= window_begin_ + window_length_)
		return window_ + (begin - window_begin_);
	if (window_ != nullptr)
		munmap(const_cast<uint8_t *>(window_), window_length_);
	window_begin_ = begin & ~(page_ - 1);
	size_t needed = (begin - window_begin_ + length + page_ - 1) & ~(page_ - 1);
	window_length_ = needed < window_bytes ? window_bytes : needed;
	if (window_length_ > 2 * size_ - window_begin_)
		window_length_ = 2 * size_ - window_begin_;
	void *window = mmap(nullptr, window_length_, PROT_READ, MAP_SHARED, map_,
			    static_cast<off_t>(2 * page_ + window_begin_));
	window_ = window == MAP_FAILED ? nullptr : static_cast<const uint8_t *>(window);
	return window_ == nullptr ? nullptr : window_ + (begin - window_begin_);
}

uint64_t RingReader::pending() const
{
	return __atomic_load_n(producer_, __ATOMIC_ACQUIRE) -
	       __atomic_load_n(consumer_, __ATOMIC_RELAXED);
}

// Returns false if the batch has no room; the record stays for the next one.
bool RingReader::place(Batch &batch, const uint8_t *record, uint32_t length)
{
	if (record_size_ != 0) {
		if (length != record_size_) {
			__atomic_fetch_add(&misfits_, 1, __ATOMIC_RELAXED);
			return true;
		}
		if (batch.capacity - batch.bytes < record_size_)
			return false;
		memcpy(batch.memory + batch.bytes, record, record_size_);
		batch.bytes += record_size_;
		batch.count++;
		return true;
	}
	size_t needed = round_up(sizeof(length) + length);
	if (needed > batch.capacity) {
		__atomic_fetch_add(&misfits_, 1, __ATOMIC_RELAXED);
		return true;
	}
	if (batch.capacity - batch.bytes < needed)
		return false;
	uint8_t *to = batch.memory + batch.bytes;
	memcpy(to, &length, sizeof(length));
	memcpy(to + sizeof(length), record, length);
	memset(to + sizeof(length) + length, 0, needed - sizeof(length) - length);
	batch.bytes += needed;
	batch.count++;
	return true;
}

void RingReader::fill(Batch &batch, uint32_t most)
{
	unsigned long consumed = *consumer_;
	unsigned long produced = __atomic_load_n(producer_, __ATOMIC_ACQUIRE);

	while (consumed < produced && batch.count < most) {
		const uint8_t *header = at(consumed, BPF_RINGBUF_HDR_SZ);
		if (header == nullptr)
			break;
		uint32_t word =
		    __atomic_load_n(reinterpret_cast<const uint32_t *>(header), __ATOMIC_ACQUIRE);
		if ((word & BPF_RINGBUF_BUSY_BIT) != 0)
			break;
		uint32_t length = word & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		if ((word & BPF_RINGBUF_DISCARD_BIT) == 0) {
			const uint8_t *record = at(consumed, BPF_RINGBUF_HDR_SZ + length);
			if (record == nullptr || !place(batch, record + BPF_RINGBUF_HDR_SZ, length))
				break;
		}
		consumed += round_up(length + BPF_RINGBUF_HDR_SZ);
	}
	// Sequentially consistent, as the kernel's decision to wake the reader requires: it stores
	// the producer's position and then compares this one.
	__atomic_store_n(consumer_, consumed, __ATOMIC_SEQ_CST);
}
