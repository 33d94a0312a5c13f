/* Plans, and the keys of similar connections. */
#include "plans.h"

#include <string.h>
#include <sys/random.h>

#include <algorithm>

#include "stream.h"

namespace kmesh::tunnel
{

/* Longer keys are not worth their memory. */
static constexpr size_t kLongestKey = 4096;

void Plans::put(std::string &&key, Plan &&plan)
{
	{
		std::lock_guard<std::mutex> lock(mutex_);
		if (plan.version != version_)
			return;
	}
	if (key.empty())
		return;
	if (plansVersion_ != plan.version || plans_.size() >= kPlans)
		plans_.clear();
	plansVersion_ = plan.version;
	plans_[std::move(key)] = std::make_shared<const Plan>(std::move(plan));
}

std::shared_ptr<const Plan> Plans::find(const std::string &key) const
{
	auto found = plans_.find(key);
	return found == plans_.end() ? nullptr : found->second;
}

bool Plans::admit(const Plan &plan, const Admitted &admitted)
{
	std::lock_guard<std::mutex> lock(mutex_);
	if (plan.version != version_ || admitted_.size() + released_.size() >= kUnknown)
		return false;
	admitted_.push_back(admitted);
	return true;
}

void Plans::release(uint64_t beforeUs)
{
	std::lock_guard<std::mutex> lock(mutex_);
	auto stays = [beforeUs](const Admitted &one) {
		return one.endedUs == 0 && one.atUs >= beforeUs && !one.announced;
	};
	auto first = std::stable_partition(admitted_.begin(), admitted_.end(), stays);
	released_.insert(released_.end(), first, admitted_.end());
	admitted_.erase(first, admitted_.end());
}

bool Plans::anyReleased()
{
	std::lock_guard<std::mutex> lock(mutex_);
	return !released_.empty();
}

void Plans::announce(uint64_t flow)
{
	std::lock_guard<std::mutex> lock(mutex_);
	for (Admitted &one : admitted_) {
		if (one.flow == flow)
			one.announced = true;
	}
}

bool Plans::anyAdmitted()
{
	std::lock_guard<std::mutex> lock(mutex_);
	return !admitted_.empty();
}

bool Plans::ended(uint64_t flow, uint64_t nowUs, uint64_t bytesUp, uint64_t bytesDown)
{
	std::lock_guard<std::mutex> lock(mutex_);
	for (std::vector<Admitted> *unknown : {&admitted_, &released_}) {
		for (Admitted &one : *unknown) {
			if (one.flow != flow)
				continue;
			one.endedUs = nowUs;
			one.bytesUp = bytesUp;
			one.bytesDown = bytesDown;
			return true;
		}
	}
	return false;
}

bool Plans::manyAdmitted()
{
	std::lock_guard<std::mutex> lock(mutex_);
	return admitted_.size() + released_.size() >= kUnknown / 2;
}

std::vector<Admitted> Plans::take()
{
	std::vector<Admitted> taken;
	std::lock_guard<std::mutex> lock(mutex_);
	taken.swap(released_);
	return taken;
}

std::vector<Admitted> Plans::takeBack(uint64_t version)
{
	std::vector<Admitted> taken;
	std::lock_guard<std::mutex> lock(mutex_);
	version_ = version;
	taken.swap(released_);
	taken.insert(taken.end(), admitted_.begin(), admitted_.end());
	admitted_.clear();
	return taken;
}

static void appendNumber(std::string &key, uint64_t number)
{
	key.append(reinterpret_cast<const char *>(&number), sizeof number);
}

static void appendAddress(std::string &key, const sockaddr_storage &address, bool withPort)
{
	uint8_t bytes[16];
	uint16_t port = readAddress(address, bytes);
	key.append(reinterpret_cast<const char *>(bytes), sizeof bytes);
	if (withPort)
		key.append(reinterpret_cast<const char *>(&port), sizeof port);
}

std::string planKey(uint64_t listener, const sockaddr_storage &peer,
		    const sockaddr_storage &original, uint32_t pick)
{
	std::string key;
	key.reserve(64);
	key += 'o';
	appendNumber(key, listener);
	appendAddress(key, peer, false);
	appendAddress(key, original, true);
	appendNumber(key, pick);
	return key;
}

/* `for="address:port"` at the start differs per client and does not affect a decision. */
static std::string_view withoutClient(std::string_view forwarded)
{
	static constexpr std::string_view kStart = "for=\"";
	if (forwarded.substr(0, kStart.size()) != kStart)
		return forwarded;
	size_t end = forwarded.find_first_not_of("0123456789abcdef.:[]", kStart.size());
	if (end == std::string_view::npos || forwarded[end] != '"')
		return forwarded;
	return forwarded.substr(end);
}

std::string planKey(uint64_t session, const RequestHeaders &headers)
{
	std::string key;
	key.reserve(512);
	key += 'i';
	appendNumber(key, session);
	auto append = [&key](std::string_view text) {
		appendNumber(key, text.size());
		key += text;
	};
	append(headers.method);
	append(headers.authority);
	for (size_t index = 0; index + 1 < headers.fields.size(); index += 2) {
		append(headers.fields[index]);
		append(headers.fields[index] == "forwarded"
			   ? withoutClient(headers.fields[index + 1])
			   : std::string_view(headers.fields[index + 1]));
	}
	return key.size() > kLongestKey ? std::string() : key;
}

std::string randomTraceparent()
{
	static constexpr size_t kBytes = 24;
	static thread_local uint8_t random[kBytes * 128];
	static thread_local size_t used = sizeof random;
	if (used == sizeof random) {
		size_t filled = 0;
		while (filled < sizeof random) {
			ssize_t got = getrandom(random + filled, sizeof random - filled, 0);
			if (got > 0)
				filled += static_cast<size_t>(got);
		}
		used = 0;
	}
	static const char digits[] = "0123456789abcdef";
	std::string text = "00-";
	text.reserve(55);
	for (size_t at = 0; at < kBytes; at++) {
		if (at == 16)
			text += '-';
		text += digits[random[used + at] >> 4];
		text += digits[random[used + at] & 15];
	}
	used += kBytes;
	return text + "-00";
}

} // namespace kmesh::tunnel
