/* What a data thread reports to TypeScript, and when: urgent events once per turn of the loop,
 * others a little later and together. */
#include "engine.h"

namespace kmesh::tunnel
{

/* How long a flow's bytes are reported more often than those of older flows. */
static constexpr uint64_t kYoungMs = 2500;

std::vector<EventBatch> Engine::take()
{
	std::vector<EventBatch> published;
	{
		std::lock_guard<std::mutex> lock(eventMutex_);
		notified_ = false;
		published.swap(published_);
	}
	/* Read later but reported first: no end of a flow precedes its beginning. */
	std::vector<EventBatch> taken;
	std::vector<Admitted> admitted = plans.take();
	if (!admitted.empty()) {
		EventBatch &batch = taken.emplace_back();
		uint64_t now = preciseUs();
		for (const Admitted &one : admitted) {
			bool open = one.endedUs == 0;
			batch.add(
			    open ? EventType::Served : EventType::Passed, one.flow,
			    {static_cast<double>(one.plan), static_cast<double>(one.clientPort),
			     static_cast<double>((open ? now : one.endedUs) - one.atUs) / 1000,
			     static_cast<double>(one.bytesUp), static_cast<double>(one.bytesDown)});
		}
	}
	for (EventBatch &batch : published)
		taken.push_back(std::move(batch));
	return taken;
}

void Engine::announceAdmitted()
{
	announce(!plans.manyAdmitted());
}

void Engine::announce(bool lazy)
{
	if (!lazy)
		urgent_ = true;
	else if (lazySince_ == 0)
		lazySince_ = now_ + 1;
}

void Engine::emit(EventType type, uint64_t number, std::initializer_list<double> values)
{
	events.add(type, number, values);
	announce();
}

void Engine::wakeHandlers()
{
	if (!urgent_ && (lazySince_ == 0 || now_ + 1 < lazySince_ + kLazyMs))
		return;
	/* Before anything else is published. A connection that may end soon, reported with its end,
	 * saves most of its cost; an urgent event may be about the session that carries it. */
	plans.release(urgent_ ? UINT64_MAX : (now_ - kLazyMs) * 1000);
	urgent_ = false;
	lazySince_ = plans.anyAdmitted() ? now_ + 1 : 0;
	bool any = !events.numbers.empty();
	if (!any && !plans.anyReleased())
		return;
	if (any)
		knownTexts.startOverWhenFull();
	{
		std::lock_guard<std::mutex> lock(eventMutex_);
		if (any)
			published_.push_back(std::move(events));
		events = EventBatch();
		if (notified_)
			return;
		notified_ = true;
	}
	if (notify)
		notify();
}

void Engine::opened(const Flow &flow)
{
	forgetGrown();
	young_.emplace_back(now_, flow.id);
}

void Engine::forgetGrown()
{
	while (!young_.empty() && young_.front().first + kYoungMs < now_)
		young_.pop_front();
}

void Engine::reportBytes(bool all)
{
	forgetGrown();
	EventExtra extra;
	auto add = [&extra](const Flow &flow) {
		if (flow.state != Flow::State::Open)
			return;
		extra.series.push_back(static_cast<double>(flow.id));
		extra.series.push_back(static_cast<double>(flow.directions[0].bytes));
		extra.series.push_back(static_cast<double>(flow.directions[1].bytes));
	};
	if (all) {
		extra.series.reserve(flows.size() * 3);
		for (auto &[id, open] : flows)
			add(*open);
	} else {
		for (auto &[since, id] : young_) {
			if (const Flow *open = flow(id))
				add(*open);
		}
	}
	if (extra.series.empty())
		return;
	emit(EventType::Bytes, 0, {events.addExtra(std::move(extra))});
}

} // namespace kmesh::tunnel
