/* A session nested in a stream of another one, its carrier: the stream is its transport (ambient
 * contract 6.9). */
#include <openssl/ssl.h>

#include "engine.h"

namespace kmesh::tunnel
{

static constexpr uint32_t kLeaveLookMs = 500;

void Session::nest(Session *carrier, std::string_view fields, SSL_CTX *context,
		   std::vector<std::string> identities)
{
	if (carrier != nullptr)
		held = carrier->held;
	identities_ = std::move(identities);
	SSL_CTX_up_ref(context);
	context_ = std::shared_ptr<SSL_CTX>(context, SSL_CTX_free);
	state = State::Connecting;
	engine.schedule(engine.config.handshakeTimeoutMs, id, TimerKind::Handshake);
	if (carrier == nullptr || !carrier->acceptsStreams() ||
	    carrier->submitRequest(this, fields) < 0) {
		kill(SessionEnd::CarrierLost, 0, "the gateway connection is closing");
	}
}

void Session::streamResponse(int status, const std::string &, bool end)
{
	if (status != 200 || end) {
		kill(SessionEnd::CarrierFailed, status,
		     "the gateway answered CONNECT with status " + std::to_string(status));
		return;
	}
	carrierOpen_ = true;
	beginHandshake();
	startTls();
}

void Session::streamData(const uint8_t *bytes, size_t length)
{
	Session *carrier = streamSession;
	if (carrier != nullptr)
		carrier->consumed(this, length);
	if (state == State::Dead)
		return;
	input(bytes, length);
}

void Session::streamEnd()
{
	peerClosed();
}

void Session::streamClosed(uint32_t code, bool sessionLost)
{
	if (state == State::Dead) {
		carrierLeft();
		return;
	}
	bool connecting = state == State::Connecting;
	/* Nothing was read from the application, so another session of the gateway can be tried. */
	if ((sessionLost && state != State::Open) || (connecting && code == NGHTTP2_REFUSED_STREAM))
		kill(SessionEnd::CarrierLost, static_cast<int>(code), "the gateway was lost");
	else if (connecting)
		kill(SessionEnd::CarrierFailed, static_cast<int>(code),
		     "the gateway closed the stream");
	else
		peerClosed();
}

ssize_t Session::streamPull(uint8_t *into, size_t length, uint32_t *flags)
{
	bool ended = state == State::Dead;
	if (!carrierOpen_ || (out_.empty() && !ended)) {
		streamDeferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	size_t taken = out_.take(into, length);
	if (ended && out_.empty())
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	else if (out_.size() < outHigh())
		markDirty();
	return static_cast<ssize_t>(taken);
}

/* Waits for the carrier to take the last bytes, and for the peer to end the stream. */
void Session::leaveStep()
{
	if (state != State::Dead || streamSession == nullptr)
		return;
	uint64_t now = engine.nowMs();
	if (out_.size() != lastBytes_) {
		lastBytes_ = out_.size();
		lastBytesSince_ = now;
	}
	if (now - lastBytesSince_ >= (out_.empty() ? kLingerMs : engine.config.stallMs))
		leaveCarrier();
	else
		engine.schedule(kLeaveLookMs, id, TimerKind::Leave);
}

void Session::leaveCarrier()
{
	streamSession->resetStream(this, out_.empty() ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
	carrierLeft();
}

void Session::carrierLeft()
{
	if (closedDue_)
		emitClosed(SessionEnd::Closed, 0, "");
	closedDue_ = false;
	engine.bury(this);
}

} // namespace kmesh::tunnel
