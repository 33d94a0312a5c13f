/* Joining passthrough connections in the kernel; what it is and why it keeps order and bounds:
 * bpf/README.md. */
#include "join.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "../../../bpf/passthrough/join_types.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

namespace kmesh::tunnel
{

/* A connection that woke is looked at so often, and sleeps again when it moved less than so much.
 */
static constexpr uint64_t kTickMs = 20;
static constexpr uint64_t kQuietBytes = 64 << 10;
/* One that wakes again and again is left awake twice as long each time. */
static constexpr uint32_t kMaximumDoublings = 8;
static constexpr uint64_t kCalmMs = 2000;
/* No program runs longer for a connection that is gone. */
static constexpr uint64_t kReuseMs = 1000;
static constexpr size_t kPage = 4096;

static long bpf(int command, bpf_attr &attributes)
{
	return syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

static bool put(int map, const void *key, const void *value, uint64_t flags)
{
	bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = static_cast<uint32_t>(map);
	attributes.key = reinterpret_cast<uint64_t>(key);
	attributes.value = reinterpret_cast<uint64_t>(value);
	attributes.flags = flags;
	return bpf(BPF_MAP_UPDATE_ELEM, attributes) == 0;
}

static void drop(int map, const void *key)
{
	bpf_attr attributes;
	memset(&attributes, 0, sizeof attributes);
	attributes.map_fd = static_cast<uint32_t>(map);
	attributes.key = reinterpret_cast<uint64_t>(key);
	bpf(BPF_MAP_DELETE_ELEM, attributes);
}

template <typename T> static T load(const T &from)
{
	return __atomic_load_n(&from, __ATOMIC_SEQ_CST);
}

template <typename T> static void store(T &into, T value)
{
	__atomic_store_n(&into, value, __ATOMIC_SEQ_CST);
}

/* How many bytes ever entered the send queue of a socket, plus a constant. An acknowledgement
 * between the two questions makes it less, never more. */
static uint64_t queuedBytes(int fd)
{
	tcp_info info{};
	socklen_t length = sizeof info;
	int waiting = 0;
	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
	ioctl(fd, SIOCOUTQ, &waiting);
	return info.tcpi_bytes_acked + static_cast<uint64_t>(waiting);
}

static uint64_t cookieOf(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof cookie;
	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length);
	return cookie;
}

Joins::Joins(Engine &engine, const JoinMaps &maps) : engine_(engine), maps_(maps)
{
}

Joins::~Joins()
{
	if (table_ != nullptr)
		munmap(table_, KMESH_JOINS * sizeof(kmesh_join));
	if (consumed_ != nullptr)
		munmap(consumed_, kPage);
	if (ring_ != nullptr)
		munmap(ring_, kPage + 2 * KMESH_JOIN_RING_BYTES);
	for (int fd : {maps_.peers, maps_.places, maps_.wakes})
		close(fd);
}

bool Joins::start()
{
	auto map = [](int fd, size_t bytes, int rights, off_t from) -> void * {
		void *mapped = mmap(nullptr, bytes, rights, MAP_SHARED, fd, from);
		return mapped == MAP_FAILED ? nullptr : mapped;
	};
	table_ = static_cast<kmesh_join *>(
	    map(maps_.joins, KMESH_JOINS * sizeof(kmesh_join), PROT_READ | PROT_WRITE, 0));
	consumed_ = static_cast<uint64_t *>(map(maps_.wakes, kPage, PROT_READ | PROT_WRITE, 0));
	ring_ = static_cast<uint8_t *>(
	    map(maps_.wakes, kPage + 2 * KMESH_JOIN_RING_BYTES, PROT_READ, kPage));
	close(maps_.joins);
	if (table_ == nullptr || consumed_ == nullptr || ring_ == nullptr)
		return false;
	flows_.resize(KMESH_JOINS);
	for (uint32_t slot = 0; slot < KMESH_JOINS; slot++)
		free_.emplace_back(0, slot);
	return engine_.watch(maps_.wakes, this, EPOLLIN);
}

kmesh_join &Joins::slotOf(const Flow &flow) const
{
	return table_[flow.joined->slot];
}

uint64_t Joins::redirected(const Flow &flow, int direction) const
{
	return load(slotOf(flow).directions[direction].redirected);
}

bool Joins::broken(const Flow &flow) const
{
	return load(slotOf(flow).broken) != 0;
}

bool Joins::enter(Flow &flow)
{
	if (free_.empty() || free_.front().first > engine_.nowMs())
		return false;
	uint32_t slot = free_.front().second;
	uint64_t cookies[2] = {cookieOf(flow.sockets[0].fd), cookieOf(flow.sockets[1].fd)};
	auto joined = std::make_unique<Joined>();
	joined->slot = slot;
	kmesh_join &entry = table_[slot];
	memset(&entry, 0, sizeof entry);
	for (int side = 0; side < 2; side++) {
		uint32_t place = 2 * slot + static_cast<uint32_t>(side);
		store(entry.directions[side].cookie, static_cast<__u64>(cookies[side]));
		joined->queuedBefore[side] = queuedBytes(flow.sockets[1 - side].fd);
		if (!put(maps_.places, &cookies[side], &place, BPF_ANY)) {
			drop(maps_.places, &cookies[0]);
			return false;
		}
	}
	/* The value's socket comes under the program; the key's sends to it. */
	uint64_t near = static_cast<uint64_t>(flow.sockets[0].fd);
	uint64_t far = static_cast<uint64_t>(flow.sockets[1].fd);
	if (!put(maps_.peers, &cookies[1], &near, BPF_NOEXIST)) {
		drop(maps_.places, &cookies[0]);
		drop(maps_.places, &cookies[1]);
		return false;
	}
	free_.pop_front();
	flows_[slot] = flow.id;
	flow.joined = std::move(joined);
	flow.joined->complete = put(maps_.peers, &cookies[0], &far, BPF_NOEXIST);
	counts.joined++;
	list(flow);
	return true;
}

/* After the sockets are closed. */
void Joins::leave(Flow &flow)
{
	kmesh_join &entry = slotOf(flow);
	counts.bytes += redirected(flow, 0) + redirected(flow, 1);
	for (kmesh_join_direction &way : entry.directions) {
		uint64_t cookie = way.cookie;
		store(way.cookie, static_cast<__u64>(0));
		drop(maps_.places, &cookie);
	}
	flows_[flow.joined->slot] = 0;
	free_.emplace_back(engine_.nowMs() + kReuseMs, flow.joined->slot);
	flow.joined.reset();
}

void Joins::list(Flow &flow)
{
	Joined &joined = *flow.joined;
	joined.tickAtMs = engine_.nowMs() + (kTickMs << std::min(joined.wakes, kMaximumDoublings));
	if (joined.listed)
		return;
	joined.listed = true;
	awake_.push_back(flow.id);
}

bool Joins::sleep(Flow &flow)
{
	Joined &joined = *flow.joined;
	if (!joined.complete || joined.asleep)
		return joined.asleep;
	for (int side = 0; side < 2; side++) {
		const Flow::Socket &socket = flow.sockets[side];
		if (socket.readable || !socket.writable || socket.peerEnded || socket.failed ||
		    !flow.directions[side].pending.empty() || !settled(flow, side))
			return false;
	}
	kmesh_join &entry = slotOf(flow);
	for (int side = 0; side < 2; side++)
		store(entry.directions[side].delivered, static_cast<__u64>(joined.received[side]));
	store(entry.wanted, 1u);
	store(entry.asleep, 1u);
	/* What was passed before it said that it sleeps is not told. */
	for (int side = 0; side < 2; side++) {
		if (load(entry.directions[side].passed) == joined.received[side])
			continue;
		store(entry.wanted, 0u);
		store(entry.asleep, 0u);
		return false;
	}
	joined.asleep = true;
	counts.slept++;
	joined.asleepSinceMs = engine_.nowMs();
	for (Flow::Socket &socket : flow.sockets)
		engine_.rewatch(socket.fd, &socket, EPOLLRDHUP | EPOLLET);
	return true;
}

void Joins::wake(Flow &flow)
{
	Joined &joined = *flow.joined;
	if (!joined.asleep)
		return;
	joined.asleep = false;
	store(slotOf(flow).wanted, 0u);
	store(slotOf(flow).asleep, 0u);
	counts.woken++;
	joined.wakes = engine_.nowMs() - joined.asleepSinceMs > kCalmMs ? 1 : joined.wakes + 1;
	for (Flow::Socket &socket : flow.sockets) {
		socket.readable = socket.writable = true;
		engine_.rewatch(socket.fd, &socket, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	}
	list(flow);
}

bool Joins::settled(Flow &flow, int direction)
{
	Joined &joined = *flow.joined;
	uint64_t total = redirected(flow, direction);
	if (joined.settled[direction] == total)
		return true;
	uint64_t queued =
	    queuedBytes(flow.sockets[1 - direction].fd) - joined.queuedBefore[direction];
	if (queued < joined.sent[direction] + total) {
		if (!joined.unsettled)
			unsettled_.push_back(flow.id);
		joined.unsettled = true;
		return false;
	}
	joined.settled[direction] = total;
	return true;
}

void Joins::tick(uint64_t now)
{
	if (!unsettled_.empty()) {
		std::vector<uint64_t> batch;
		batch.swap(unsettled_);
		for (uint64_t id : batch) {
			Flow *flow = engine_.flow(id);
			if (flow == nullptr || flow->joined == nullptr)
				continue;
			flow->joined->unsettled = false;
			flow->pump();
		}
	}
	if (awake_.empty() || now < lastTickMs_ + kTickMs)
		return;
	lastTickMs_ = now;
	size_t kept = 0;
	for (uint64_t id : awake_) {
		Flow *flow = engine_.flow(id);
		if (flow == nullptr || flow->joined == nullptr)
			continue;
		Joined &joined = *flow->joined;
		if (now >= joined.tickAtMs) {
			uint64_t total = joined.received[0] + joined.received[1];
			bool quiet = total - joined.receivedAtTick < kQuietBytes;
			joined.receivedAtTick = total;
			joined.tickAtMs =
			    now + (kTickMs << std::min(joined.wakes, kMaximumDoublings));
			bool ended = flow->sockets[0].peerEnded || flow->sockets[1].peerEnded;
			if (ended || !joined.complete || (quiet && sleep(*flow))) {
				joined.listed = false;
				continue;
			}
		}
		awake_[kept++] = id;
	}
	awake_.resize(kept);
}

uint64_t Joins::due() const
{
	if (!unsettled_.empty())
		return engine_.nowMs() + 1;
	return awake_.empty() ? UINT64_MAX : lastTickMs_ + kTickMs;
}

/* The ring of places to wake: a header of eight bytes before each record. */
void Joins::onEvents(uint32_t)
{
	const auto *produced = reinterpret_cast<const uint64_t *>(ring_);
	const uint8_t *records = ring_ + kPage;
	uint64_t at = *consumed_;
	while (at < __atomic_load_n(produced, __ATOMIC_ACQUIRE)) {
		const uint8_t *record = records + (at & (KMESH_JOIN_RING_BYTES - 1));
		uint32_t header =
		    __atomic_load_n(reinterpret_cast<const uint32_t *>(record), __ATOMIC_ACQUIRE);
		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		uint32_t slot = 0;
		memcpy(&slot, record + BPF_RINGBUF_HDR_SZ, sizeof slot);
		at += (BPF_RINGBUF_HDR_SZ + (header & ~BPF_RINGBUF_DISCARD_BIT) + 7) & ~7ull;
		__atomic_store_n(consumed_, at, __ATOMIC_SEQ_CST);
		Flow *flow = slot < KMESH_JOINS ? engine_.flow(flows_[slot]) : nullptr;
		if (flow == nullptr || flow->joined == nullptr || flow->joined->slot != slot)
			continue;
		wake(*flow);
		flow->pump();
	}
}

} // namespace kmesh::tunnel
