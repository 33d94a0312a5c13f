/*
 * The part of nghttp2's stable C interface that the tunnel engine uses. Node carries nghttp2 and
 * exports its symbols but ships no header for it, so the declarations are written here; layouts
 * follow the library's ABI.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

extern "C" {

struct nghttp2_session;
struct nghttp2_session_callbacks;
struct nghttp2_option;

struct nghttp2_nv {
	uint8_t *name;
	uint8_t *value;
	size_t namelen;
	size_t valuelen;
	uint8_t flags;
};

struct nghttp2_settings_entry {
	int32_t settings_id;
	uint32_t value;
};

struct nghttp2_frame_hd {
	size_t length;
	int32_t stream_id;
	uint8_t type;
	uint8_t flags;
	uint8_t reserved;
};

struct nghttp2_priority_spec {
	int32_t stream_id;
	int32_t weight;
	uint8_t exclusive;
};

struct nghttp2_headers {
	nghttp2_frame_hd hd;
	size_t padlen;
	nghttp2_priority_spec pri_spec;
	nghttp2_nv *nva;
	size_t nvlen;
	int cat;
};

struct nghttp2_goaway {
	nghttp2_frame_hd hd;
	int32_t last_stream_id;
	uint32_t error_code;
	uint8_t *opaque_data;
	size_t opaque_data_len;
	uint8_t reserved;
};

/* The members of the library's union that are read here; all start with the frame header. */
union nghttp2_frame {
	nghttp2_frame_hd hd;
	nghttp2_headers headers;
	nghttp2_goaway goaway;
};

union nghttp2_data_source {
	int fd;
	void *ptr;
};

typedef ssize_t (*nghttp2_data_source_read_callback2)(nghttp2_session *, int32_t, uint8_t *, size_t,
						      uint32_t *, nghttp2_data_source *, void *);

struct nghttp2_data_provider2 {
	nghttp2_data_source source;
	nghttp2_data_source_read_callback2 read_callback;
};

enum {
	NGHTTP2_FRAME_DATA = 0,
	NGHTTP2_FRAME_HEADERS = 1,
	NGHTTP2_FRAME_RST_STREAM = 3,
	NGHTTP2_FRAME_SETTINGS = 4,
	NGHTTP2_FRAME_PING = 6,
	NGHTTP2_FRAME_GOAWAY = 7,
};
enum { NGHTTP2_FLAG_END_STREAM = 1, NGHTTP2_FLAG_ACK = 1 };
enum { NGHTTP2_CATEGORY_REQUEST = 0, NGHTTP2_CATEGORY_RESPONSE = 1 };
enum { NGHTTP2_DATA_FLAG_EOF = 1 };
enum { NGHTTP2_NV_FLAG_NONE = 0, NGHTTP2_NV_FLAG_NO_INDEX = 1 };
enum {
	NGHTTP2_ERR_DEFERRED = -508,
	NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE = -521,
	NGHTTP2_ERR_CALLBACK_FAILURE = -902
};
enum {
	NGHTTP2_SETTINGS_ENABLE_PUSH = 2,
	NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS = 3,
	NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE = 4,
	NGHTTP2_SETTINGS_MAX_FRAME_SIZE = 5,
	NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE = 6,
};
enum {
	NGHTTP2_NO_ERROR = 0,
	NGHTTP2_REFUSED_STREAM = 7,
	NGHTTP2_CANCEL = 8,
	NGHTTP2_CONNECT_ERROR = 10
};

int nghttp2_session_callbacks_new(nghttp2_session_callbacks **);
void nghttp2_session_callbacks_del(nghttp2_session_callbacks *);
void nghttp2_session_callbacks_set_on_begin_headers_callback(
    nghttp2_session_callbacks *, int (*)(nghttp2_session *, const nghttp2_frame *, void *));
void nghttp2_session_callbacks_set_on_header_callback(
    nghttp2_session_callbacks *, int (*)(nghttp2_session *, const nghttp2_frame *, const uint8_t *,
					 size_t, const uint8_t *, size_t, uint8_t, void *));
void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks *,
							  int (*)(nghttp2_session *,
								  const nghttp2_frame *, void *));
void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks *,
							       int (*)(nghttp2_session *, uint8_t,
								       int32_t, const uint8_t *,
								       size_t, void *));
void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks *,
							    int (*)(nghttp2_session *, int32_t,
								    uint32_t, void *));
void nghttp2_session_callbacks_set_error_callback2(nghttp2_session_callbacks *,
						   int (*)(nghttp2_session *, int, const char *,
							   size_t, void *));
void nghttp2_session_callbacks_set_data_source_read_length_callback2(
    nghttp2_session_callbacks *,
    ssize_t (*)(nghttp2_session *, uint8_t, int32_t, int32_t, int32_t, uint32_t, void *));

int nghttp2_option_new(nghttp2_option **);
void nghttp2_option_del(nghttp2_option *);
void nghttp2_option_set_no_auto_window_update(nghttp2_option *, int);
void nghttp2_option_set_no_closed_streams(nghttp2_option *, int);
void nghttp2_option_set_peer_max_concurrent_streams(nghttp2_option *, uint32_t);
void nghttp2_option_set_max_settings(nghttp2_option *, size_t);
void nghttp2_option_set_max_outbound_ack(nghttp2_option *, size_t);
void nghttp2_option_set_max_continuations(nghttp2_option *, size_t);
void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option *, uint64_t, uint64_t);

int nghttp2_session_client_new2(nghttp2_session **, const nghttp2_session_callbacks *, void *,
				const nghttp2_option *);
int nghttp2_session_server_new2(nghttp2_session **, const nghttp2_session_callbacks *, void *,
				const nghttp2_option *);
void nghttp2_session_del(nghttp2_session *);
ssize_t nghttp2_session_mem_recv2(nghttp2_session *, const uint8_t *, size_t);
ssize_t nghttp2_session_mem_send2(nghttp2_session *, const uint8_t **);
int nghttp2_session_want_read(nghttp2_session *);
int nghttp2_session_want_write(nghttp2_session *);
int nghttp2_session_resume_data(nghttp2_session *, int32_t);
int nghttp2_session_consume(nghttp2_session *, int32_t, size_t);
int nghttp2_session_consume_connection(nghttp2_session *, size_t);
void *nghttp2_session_find_stream(nghttp2_session *, int32_t);
void *nghttp2_session_get_stream_user_data(nghttp2_session *, int32_t);
int nghttp2_session_set_stream_user_data(nghttp2_session *, int32_t, void *);
uint32_t nghttp2_session_get_remote_settings(nghttp2_session *, int);
int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session *);
int nghttp2_session_set_local_window_size(nghttp2_session *, uint8_t, int32_t, int32_t);
int nghttp2_submit_settings(nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t);
int32_t nghttp2_submit_request2(nghttp2_session *, const nghttp2_priority_spec *,
				const nghttp2_nv *, size_t, const nghttp2_data_provider2 *, void *);
int nghttp2_submit_response2(nghttp2_session *, int32_t, const nghttp2_nv *, size_t,
			     const nghttp2_data_provider2 *);
int nghttp2_submit_rst_stream(nghttp2_session *, uint8_t, int32_t, uint32_t);
int nghttp2_submit_ping(nghttp2_session *, uint8_t, const uint8_t *);
int nghttp2_submit_goaway(nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t);
int nghttp2_submit_shutdown_notice(nghttp2_session *);
const char *nghttp2_strerror(int);
}
