/*
 * Events for TypeScript in batches of numbers, so that a connection allocates no
 * object or string. A record is
 *
 *   type, id, five numbers, count of texts, then a reference per text
 *
 * A reference of 0 or more is a slot of texts that TypeScript already knows (defined by an earlier
 * event); a negative one is -1 - index into the batch's own texts. Read by
 * packages/tunnel/src/engine/events.ts.
 */
#pragma once

#include <stdint.h>
#include <sys/socket.h>

#include <initializer_list>
#include <string>
#include <unordered_map>
#include <vector>

#include "kinds.h"

namespace kmesh::tunnel
{

/* Data other than numbers and texts; a number of the event is its index. */
struct EventExtra {
	std::vector<std::string> blobs;
	std::vector<double> series;
};

class EventBatch
{
      public:
	void add(EventType type, uint64_t id, std::initializer_list<double> values = {});
	/* For the last event. */
	void addKnown(int32_t slot);
	void addText(std::string &&text);
	double addExtra(EventExtra &&extra);

	std::vector<double> numbers;
	std::vector<std::string> texts;
	std::vector<EventExtra> extras;

      private:
	size_t last_ = 0;
};

/* Frequent texts by slot. When full, it starts over with the next batch: a definition
 * then replaces the text in its slot. Never within a batch, because an incomplete event
 * already refers to slots. */
class KnownTexts
{
      public:
	/* Call between two batches. */
	void startOverWhenFull();
	/* Returns the slot, defined in `batch` when it is new. No event may be incomplete
	 * meanwhile. */
	int32_t text(EventBatch &batch, const std::string &text);
	int32_t address(EventBatch &batch, const sockaddr_storage &address);
	/* Longer texts get no slot. */
	static constexpr size_t kLongest = 512;

      private:
	int32_t define(EventBatch &batch, std::string &&key, std::string &&text);

	static constexpr size_t kSlots = 4096;
	std::unordered_map<std::string, int32_t> slots_;
};

} // namespace kmesh::tunnel
