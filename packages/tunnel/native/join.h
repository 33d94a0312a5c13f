/*
 * Passthrough connections whose two sockets are joined in the kernel (bpf/passthrough): what one
 * sends goes to the other's send queue, and the engine is not told of it. A connection joins after
 * some turns of small messages. What the kernel does not redirect wakes the engine, which copies
 * until the connection is quiet. Its sockets stay with the program: taking them out could lose what
 * arrives meanwhile.
 */
#pragma once

#include <stdint.h>

#include <atomic>
#include <deque>
#include <vector>

#include "engine.h"

struct kmesh_join;

namespace kmesh::tunnel
{

/* What a joined flow keeps. */
struct Joined {
	uint32_t slot = 0;
	/* Both sockets are with the program. */
	bool complete = false;
	/* The kernel moves the bytes, the engine is not told of input. */
	bool asleep = false;
	bool listed = false, unsettled = false;
	/* Of the sink of a direction: its queued bytes when it joined, and what was sent since. */
	uint64_t queuedBefore[2] = {0, 0};
	uint64_t sent[2] = {0, 0};
	/* Of a direction: what the engine received since, and redirected bytes known to be queued.
	 */
	uint64_t received[2] = {0, 0};
	uint64_t settled[2] = {0, 0};
	uint64_t receivedAtTick = 0;
	uint64_t tickAtMs = 0;
	uint64_t asleepSinceMs = 0;
	uint32_t wakes = 0;
};

/* Read by other threads. */
struct JoinCounts {
	std::atomic<uint64_t> joined{0}, slept{0}, woken{0}, bytes{0};
};

class Joins final : public Pollable
{
      public:
	/* Takes the descriptors over. */
	Joins(Engine &engine, const JoinMaps &maps);
	~Joins() override;
	/* False when the maps cannot be used. */
	bool start();

	/* Joins the sockets of a flow; false when that cannot be. It has to be pumped once then:
	 * what had arrived before is seen by the program when the engine reads. */
	bool enter(Flow &flow);
	void leave(Flow &flow);
	/* Lets the kernel move the bytes of a flow of which the engine holds none. */
	bool sleep(Flow &flow);
	void wake(Flow &flow);
	/* Whether the kernel could not keep the order of the bytes. */
	bool broken(const Flow &flow) const;
	/* Whether all redirected bytes of a direction are in its sink's queue; if not, the flow is
	 * pumped again soon. */
	bool settled(Flow &flow, int direction);
	uint64_t redirected(const Flow &flow, int direction) const;
	void tick(uint64_t now);
	/* When tick() has something to do; UINT64_MAX: never. */
	uint64_t due() const;
	void onEvents(uint32_t events) override;

	JoinCounts counts;

      private:
	kmesh_join &slotOf(const Flow &flow) const;
	void list(Flow &flow);

	Engine &engine_;
	const JoinMaps maps_;
	kmesh_join *table_ = nullptr;
	/* The ring: what was consumed, and its pages, of which the first says what was produced. */
	uint64_t *consumed_ = nullptr;
	uint8_t *ring_ = nullptr;
	std::vector<uint64_t> flows_; /* by slot */
	/* Free slots, each with the time from which it may be used. */
	std::deque<std::pair<uint64_t, uint32_t>> free_;
	std::vector<uint64_t> awake_, unsettled_;
	uint64_t lastTickMs_ = 0;
};

} // namespace kmesh::tunnel
