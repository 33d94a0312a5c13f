// The few functions of libuv that a watcher needs. Node exports libuv with a stable interface (1.x)
// but the npm packages of its headers leave uv.h out; handles are allocated by the size that the
// library itself reports.
#pragma once

#include <cstddef>

extern "C" {
struct uv_loop_s;
struct uv_handle_s;
struct uv_poll_s;
using uv_poll_cb = void (*)(uv_poll_s *handle, int status, int events);
using uv_close_cb = void (*)(uv_handle_s *handle);

int uv_poll_init(uv_loop_s *loop, uv_poll_s *handle, int fd);
int uv_poll_start(uv_poll_s *handle, int events, uv_poll_cb callback);
int uv_poll_stop(uv_poll_s *handle);
void uv_close(uv_handle_s *handle, uv_close_cb callback);
void uv_ref(uv_handle_s *handle);
void uv_unref(uv_handle_s *handle);
size_t uv_handle_size(int type);
void uv_handle_set_data(uv_handle_s *handle, void *data);
void *uv_handle_get_data(const uv_handle_s *handle);
}

constexpr int UV_POLL_TYPE = 8; // UV_POLL of enum uv_handle_type
