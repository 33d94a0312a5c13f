/* Users of HTTP/2 streams. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace kmesh::tunnel
{

class Session;

/* The owner of an HTTP/2 stream: a flow, or a session nested in the stream. */
class StreamUser
{
      public:
	virtual ~StreamUser() = default;
	virtual void streamResponse(int status, const std::string &baggage, bool end) = 0;
	virtual void streamData(const uint8_t *bytes, size_t length) = 0;
	virtual void streamEnd() = 0;
	/* The stream is gone; `session` must not be used afterwards through this stream. */
	virtual void streamClosed(uint32_t code, bool sessionLost) = 0;
	virtual ssize_t streamPull(uint8_t *into, size_t length, uint32_t *flags) = 0;

	Session *streamSession = nullptr;
	int32_t streamId = -1;
	bool streamDeferred = false;
	/* Received but unconsumed bytes, which hold back flow control. */
	size_t streamUnconsumed = 0;
	/* Response headers while they arrive. */
	int responseStatus = 0;
	std::string responseBaggage;
	size_t headerBytes = 0;
};

struct RequestHeaders {
	std::string method, authority;
	std::vector<std::string> fields;
};

} // namespace kmesh::tunnel
