/*
 * Events on their way to TypeScript: whole batches of numbers, so that one connection costs neither
 * an object nor a string of its own. A record is
 *
 *   type, id, five numbers, count of texts, then a reference per text
 *
 * A reference of 0 or more is a slot of texts that TypeScript knows already (defined by an event
 * before, so in order); a negative one is -1 - index into the batch's own texts. Read by
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

/* What is neither number nor text; its index is a number of its event. */
struct EventExtra {
	std::vector<std::string> blobs;
	std::vector<double> series;
};

class EventBatch
{
      public:
	void add(EventType type, uint64_t id, std::initializer_list<double> values = {});
	/* Of the last event. */
	void addKnown(int32_t slot);
	void addText(std::string &&text);
	double addExtra(EventExtra &&extra);

	std::vector<double> numbers;
	std::vector<std::string> texts;
	std::vector<EventExtra> extras;

      private:
	size_t last_ = 0;
};

/* Texts that come again and again, by slot. Full, it starts over with the next batch: a definition
 * then replaces what was in its slot. Never within a batch, for an event that is being written
 * refers to slots already. */
class KnownTexts
{
      public:
	/* Between two batches. */
	void startOverWhenFull();
	/* The slot, defined in `batch` when it is new. No event may be half-written meanwhile. */
	int32_t text(EventBatch &batch, const std::string &text);
	int32_t address(EventBatch &batch, const sockaddr_storage &address);
	/* Longer ones are not worth a slot. */
	static constexpr size_t kLongest = 512;

      private:
	int32_t define(EventBatch &batch, std::string &&key, std::string &&text);

	static constexpr size_t kSlots = 4096;
	std::unordered_map<std::string, int32_t> slots_;
};

} // namespace kmesh::tunnel
