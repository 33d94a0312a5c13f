/* nghttp2's callbacks, and limits that bound the cost of a hostile peer. */
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "engine.h"
#include "http2.h"

namespace kmesh::tunnel
{

/* With its header a whole number of TLS records, to avoid a tiny one at the end. */
static constexpr uint32_t kDataFrame = (128 << 10) - 9;

static Session &of(void *data)
{
	return *static_cast<Session *>(data);
}

static StreamUser *userOf(nghttp2_session *http, int32_t stream)
{
	return static_cast<StreamUser *>(nghttp2_session_get_stream_user_data(http, stream));
}

static bool isRequest(const nghttp2_frame *frame)
{
	return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}

static int onBeginHeaders(nghttp2_session *, const nghttp2_frame *frame, void *data)
{
	if (isRequest(frame))
		of(data).beginRequest(frame->hd.stream_id);
	return 0;
}

static int onHeader(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
		    size_t nameLength, const uint8_t *value, size_t valueLength, uint8_t,
		    void *data)
{
	StreamUser *user = userOf(http, frame->hd.stream_id);
	if (user == nullptr)
		return 0;
	Session &session = of(data);
	user->headerBytes += nameLength + valueLength + 32;
	uint32_t limit = session.server ? session.engine.config.serverHeaderList
					: session.engine.config.clientHeaderList;
	if (user->headerBytes > limit)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	std::string field(reinterpret_cast<const char *>(name), nameLength);
	std::string text(reinterpret_cast<const char *>(value), valueLength);
	if (isRequest(frame)) {
		RequestHeaders &headers = *static_cast<Flow *>(user)->requestHeaders;
		if (field == ":method") {
			headers.method = std::move(text);
		} else if (field == ":authority") {
			headers.authority = std::move(text);
		} else if (field == "host" && headers.authority.empty()) {
			headers.authority = std::move(text);
		} else if (field == "baggage" || field == "forwarded" ||
			   field == "x-forwarded-network") {
			headers.fields.push_back(std::move(field));
			headers.fields.push_back(std::move(text));
		}
	} else if (frame->headers.cat == NGHTTP2_HCAT_RESPONSE || user->responseStatus < 200) {
		if (field == ":status") {
			user->responseStatus = atoi(text.c_str());
		} else if (field == "baggage") {
			if (!user->responseBaggage.empty())
				user->responseBaggage += ',';
			user->responseBaggage += text;
		}
	}
	return 0;
}

static int onFrame(nghttp2_session *http, const nghttp2_frame *frame, void *data)
{
	Session &session = of(data);
	bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS: {
		StreamUser *user = userOf(http, frame->hd.stream_id);
		if (user == nullptr)
			break;
		if (isRequest(frame)) {
			session.gotRequest(static_cast<Flow *>(user), end);
		} else if (frame->headers.cat == NGHTTP2_HCAT_RESPONSE &&
			   user->responseStatus < 200) {
			user->responseStatus =
			    0; /* an informational response; the final one follows */
		} else if (user->responseStatus >= 200) {
			int status = user->responseStatus;
			user->responseStatus = -1;
			user->streamResponse(status, user->responseBaggage, end);
		} else if (end) {
			user->streamEnd();
		}
		break;
	}
	case NGHTTP2_DATA:
		if (end) {
			if (StreamUser *user = userOf(http, frame->hd.stream_id))
				user->streamEnd();
		} else if (frame->hd.length <= frame->data.padlen && !session.gotEmptyFrame()) {
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		}
		break;
	case NGHTTP2_WINDOW_UPDATE:
		if (!session.gotEmptyFrame())
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		break;
	case NGHTTP2_SETTINGS:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
			break;
		if (!session.gotEmptyFrame())
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		session.gotSettings();
		break;
	case NGHTTP2_PING:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0)
			break;
		if (!session.awaitsPong() && !session.gotEmptyFrame())
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		session.gotPong();
		break;
	case NGHTTP2_GOAWAY:
		session.gotGoaway();
		break;
	default:
		break;
	}
	return 0;
}

/* Frames that a peer may send in response: window updates of the stream and of the connection,
 * which it may send for every few hundred bytes. */
static int onSent(nghttp2_session *, const nghttp2_frame *frame, void *data)
{
	if (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)
		of(data).earnEmptyFrames(10 + static_cast<uint32_t>(frame->hd.length / 128));
	return 0;
}

static int onData(nghttp2_session *http, uint8_t, int32_t stream, const uint8_t *bytes,
		  size_t length, void *data)
{
	of(data).earnEmptyFrames(1);
	if (StreamUser *user = userOf(http, stream)) {
		of(data).received(user, length);
		user->streamData(bytes, length);
	} else {
		nghttp2_session_consume(http, stream, length);
	}
	return 0;
}

static int onStreamClose(nghttp2_session *http, int32_t stream, uint32_t code, void *data)
{
	Session &session = of(data);
	if (StreamUser *user = userOf(http, stream)) {
		nghttp2_session_set_stream_user_data(http, stream, nullptr);
		session.users.erase(user);
		user->streamSession = nullptr;
		/* What the flow has not delivered counts as held, and no longer against the other
		 * streams' window. */
		session.release(user);
		user->streamClosed(code, false);
	}
	session.streamGone(stream);
	return 0;
}

static int onError(nghttp2_session *, int, const char *text, size_t length, void *data)
{
	of(data).protocolError.assign(text, length < 200 ? length : 200);
	return 0;
}

static ssize_t dataLength(nghttp2_session *, uint8_t, int32_t, int32_t connectionWindow,
			  int32_t streamWindow, uint32_t maximum, void *)
{
	uint32_t length = kDataFrame;
	if (length > maximum)
		length = maximum;
	if (static_cast<int64_t>(length) > connectionWindow)
		length = static_cast<uint32_t>(connectionWindow);
	if (static_cast<int64_t>(length) > streamWindow)
		length = static_cast<uint32_t>(streamWindow);
	return static_cast<ssize_t>(length);
}

nghttp2_nv fieldOf(std::string_view name, std::string_view value)
{
	nghttp2_nv made;
	made.name = reinterpret_cast<uint8_t *>(const_cast<char *>(name.data()));
	made.value = reinterpret_cast<uint8_t *>(const_cast<char *>(value.data()));
	made.namelen = name.size();
	made.valuelen = value.size();
	/* Unique per connection: indexing them would only evict useful entries from the peer's
	 * table. */
	made.flags = name == "traceparent" || name == "forwarded" ? NGHTTP2_NV_FLAG_NO_INDEX
								  : NGHTTP2_NV_FLAG_NONE;
	return made;
}

size_t readFields(std::string_view joined, nghttp2_nv *into, size_t room)
{
	size_t count = 0;
	while (!joined.empty() && count < room) {
		size_t name = joined.find('\0');
		if (name == std::string_view::npos)
			break;
		size_t end = std::min(joined.find('\0', name + 1), joined.size());
		into[count++] =
		    fieldOf(joined.substr(0, name), joined.substr(name + 1, end - name - 1));
		joined.remove_prefix(std::min(end + 1, joined.size()));
	}
	return count;
}

nghttp2_session_callbacks *createHttpCallbacks()
{
	nghttp2_session_callbacks *made = nullptr;
	nghttp2_session_callbacks_new(&made);
	nghttp2_session_callbacks_set_on_begin_headers_callback(made, onBeginHeaders);
	nghttp2_session_callbacks_set_on_header_callback(made, onHeader);
	nghttp2_session_callbacks_set_on_frame_recv_callback(made, onFrame);
	nghttp2_session_callbacks_set_on_frame_send_callback(made, onSent);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, onData);
	nghttp2_session_callbacks_set_on_stream_close_callback(made, onStreamClose);
	nghttp2_session_callbacks_set_error_callback2(made, onError);
	nghttp2_session_callbacks_set_data_source_read_length_callback2(made, dataLength);
	return made;
}

nghttp2_option *createHttpOptions()
{
	nghttp2_option *made = nullptr;
	nghttp2_option_new(&made);
	nghttp2_option_set_no_auto_window_update(made, 1);
	nghttp2_option_set_no_closed_streams(made, 1);
	nghttp2_option_set_peer_max_concurrent_streams(made, 100);
	/* Floods: settings entries per frame, queued acknowledgements, CONTINUATION frames, resets
	 * by the peer; see also Session::gotEmptyFrame. */
	nghttp2_option_set_max_settings(made, 32);
	nghttp2_option_set_max_outbound_ack(made, 1000);
	nghttp2_option_set_max_continuations(made, 8);
	nghttp2_option_set_stream_reset_rate_limit(made, 2000, 500);
	return made;
}

} // namespace kmesh::tunnel
