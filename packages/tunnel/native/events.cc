/* Batches of events, and texts that are sent once. */
#include "events.h"

#include <netinet/in.h>

#include "engine.h"

namespace kmesh::tunnel
{

static constexpr size_t kValues = 5;

void EventBatch::add(EventType type, uint64_t id, std::initializer_list<double> values)
{
	last_ = numbers.size();
	numbers.push_back(static_cast<int>(type));
	numbers.push_back(static_cast<double>(id));
	for (double value : values)
		numbers.push_back(value);
	/* The rest of the five numbers, and the count of texts. */
	numbers.resize(last_ + 3 + kValues, 0);
}

void EventBatch::addKnown(int32_t slot)
{
	numbers.push_back(slot);
	numbers[last_ + 2 + kValues]++;
}

void EventBatch::addText(std::string &&text)
{
	addKnown(-1 - static_cast<int32_t>(texts.size()));
	texts.push_back(std::move(text));
}

double EventBatch::addExtra(EventExtra &&extra)
{
	extras.push_back(std::move(extra));
	return static_cast<double>(extras.size() - 1);
}

void KnownTexts::startOverWhenFull()
{
	if (slots_.size() >= kSlots)
		slots_.clear();
}

int32_t KnownTexts::define(EventBatch &batch, std::string &&key, std::string &&text)
{
	int32_t slot = static_cast<int32_t>(slots_.size());
	slots_.emplace(std::move(key), slot);
	batch.add(EventType::TextDefined, static_cast<uint64_t>(slot));
	batch.addText(std::move(text));
	return slot;
}

/* Keys of texts begin with 't', those of addresses with a letter of their family. */
int32_t KnownTexts::text(EventBatch &batch, const std::string &text)
{
	std::string key;
	key.reserve(text.size() + 1);
	key += 't';
	key += text;
	auto found = slots_.find(key);
	return found != slots_.end() ? found->second
				     : define(batch, std::move(key), std::string(text));
}

int32_t KnownTexts::address(EventBatch &batch, const sockaddr_storage &address)
{
	std::string key;
	if (address.ss_family == AF_INET) {
		auto &v4 = reinterpret_cast<const sockaddr_in &>(address);
		key += '4';
		key.append(reinterpret_cast<const char *>(&v4.sin_addr), 4);
	} else {
		auto &v6 = reinterpret_cast<const sockaddr_in6 &>(address);
		bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
		key += mapped ? '4' : '6';
		key.append(reinterpret_cast<const char *>(&v6.sin6_addr) + (mapped ? 12 : 0),
			   mapped ? 4 : 16);
	}
	auto found = slots_.find(key);
	if (found != slots_.end())
		return found->second;
	std::string text;
	uint16_t port;
	formatAddress(address, &text, &port);
	return define(batch, std::move(key), std::move(text));
}

} // namespace kmesh::tunnel
