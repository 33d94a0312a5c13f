/* Inputs of nghttp2: header fields, callbacks, options. */
#pragma once

#include <string_view>

#include <nghttp2/nghttp2.h>

namespace kmesh::tunnel
{

/* Header fields that refer to foreign memory. */
constexpr size_t kMaximumFields = 16;
nghttp2_nv fieldOf(std::string_view name, std::string_view value);
/* Reads alternating names and values, separated by NUL; returns the number of fields. */
size_t readFields(std::string_view joined, nghttp2_nv *into, size_t room);
nghttp2_session_callbacks *createHttpCallbacks();
nghttp2_option *createHttpOptions();

} // namespace kmesh::tunnel
