// SPDX-License-Identifier: Apache-2.0
/*
 * serve: a pod's servers, all in one process. Each line of standard input opens one:
 *
 *   listen <tcp|udp> <port> <mode> <name> [<address>]
 *   close <port>
 *   count
 *
 * and each is answered by one JSON line. Ends with its standard input. What a TCP server does with
 * a connection:
 *
 *   banner     server-first: sends "<name>\n" and closes
 *   http       HTTP/1.1: every request is answered with JSON: server name, addresses, request
 *   echo       sends back what it gets, until the peer's end
 *   double     sends every byte block back twice
 *   halfclose  reads to the peer's end, then sends "<name> <bytes read>\n" and closes
 *   discard    reads and keeps silent
 *   silent     accepts and never reads
 *
 * A UDP server answers each datagram with "<name> <datagram>".
 */
#include "common.h"

#define BUFFER_SIZE 65536
#define MAX_LISTENERS 1024

enum mode { BANNER, HTTP, ECHO, DOUBLE, HALFCLOSE, DISCARD, SILENT, MODE_COUNT };

static const char *const mode_names[] = {"banner",    "http",	 "echo",  "double",
					 "halfclose", "discard", "silent"};

enum kind { LISTENER, DATAGRAMS, CONNECTION, CONTROL };

struct listener {
	enum kind kind;
	int file;
	uint16_t port;
	enum mode mode;
	uint64_t connections;
	uint64_t bytes;
	char name[128];
};

struct connection {
	enum kind kind;
	int file;
	struct listener *listener;
	uint64_t received;
	size_t in;  /* bytes of an unfinished HTTP request head */
	size_t out; /* bytes that wait to be sent, from `sent` on */
	size_t sent;
	size_t skip; /* bytes of an HTTP request body still to come */
	bool peer_ended;
	bool close_after;
	char *buffer;  /* what came in */
	char *pending; /* what goes out; only while the peer is slow */
};

static struct listener *listeners[MAX_LISTENERS];
static int listener_count;
static int poller;
static char scratch[BUFFER_SIZE];

static void watch(int file, uint32_t events, void *owner, int operation)
{
	struct epoll_event event = {.events = events, .data.ptr = owner};

	if (epoll_ctl(poller, operation, file, &event) != 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void drop(struct connection *connection)
{
	close(connection->file);
	free(connection->buffer);
	free(connection->pending);
	free(connection);
}

/*
 * Sends the bytes that the socket accepts and keeps the rest. Returns false if the connection is
 * broken.
 */
static bool emit(struct connection *connection, const char *bytes, size_t length)
{
	char *grown;

	if (connection->out == connection->sent) {
		ssize_t wrote = send(connection->file, bytes, length, MSG_NOSIGNAL);

		if (wrote < 0 && errno != EAGAIN)
			return false;
		if (wrote < 0)
			wrote = 0;
		bytes += wrote;
		length -= (size_t)wrote;
		connection->out = connection->sent = 0;
	}
	if (length == 0)
		return true;
	grown = realloc(connection->pending, connection->out + length);
	if (!grown)
		die("out of memory");
	memcpy(grown + connection->out, bytes, length);
	connection->pending = grown;
	connection->out += length;
	watch(connection->file, EPOLLOUT, connection, EPOLL_CTL_MOD);
	return true;
}

static bool answer_http(struct connection *connection, char *head)
{
	union address remote, local;
	socklen_t size = sizeof(remote);
	char remote_text[ADDRESS_TEXT_SIZE] = "", local_text[ADDRESS_TEXT_SIZE] = "";
	char body[1024], response[2048], method[16] = "", path[512] = "";
	const char *length_header = strcasestr(head, "\r\ncontent-length:");
	bool last = strcasestr(head, "\r\nconnection: close") != NULL;
	int body_length, length;

	sscanf(head, "%15s %511[^ \"\\]", method, path);
	if (length_header)
		connection->skip = strtoul(length_header + strlen("\r\ncontent-length:"), NULL, 10);
	if (getpeername(connection->file, &remote.any, &size) == 0)
		address_text(&remote, remote_text);
	size = sizeof(local);
	if (getsockname(connection->file, &local.any, &size) == 0)
		address_text(&local, local_text);
	body_length = snprintf(body, sizeof(body),
			       "{\"endpoint\":\"%s\",\"remote\":\"%s\",\"local\":\"%s\",\"method\":"
			       "\"%s\",\"path\":\"%s\"}\n",
			       connection->listener->name, remote_text, local_text, method, path);
	length = snprintf(response, sizeof(response),
			  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Endpoint: "
			  "%s\r\n%sContent-Length: %d\r\n\r\n%s",
			  connection->listener->name, last ? "Connection: close\r\n" : "",
			  body_length, body);
	connection->close_after |= last;
	return emit(connection, response, (size_t)length);
}

/* Serves every whole request in the buffer. */
static bool on_http(struct connection *connection)
{
	size_t used = 0;

	while (used < connection->in) {
		size_t left = connection->in - used;
		char *start = connection->buffer + used, *end;

		if (connection->skip > 0) {
			size_t step = connection->skip < left ? connection->skip : left;

			connection->skip -= step;
			used += step;
			continue;
		}
		end = memmem(start, left, "\r\n\r\n", 4);
		if (!end)
			break;
		end[2] = '\0';
		if (!answer_http(connection, start))
			return false;
		used += (size_t)(end + 4 - start);
	}
	connection->in -= used;
	memmove(connection->buffer, connection->buffer + used, connection->in);
	return connection->in < BUFFER_SIZE;
}

static bool on_bytes(struct connection *connection, char *bytes, size_t length)
{
	switch (connection->listener->mode) {
	case ECHO:
		return emit(connection, bytes, length);
	case DOUBLE:
		return emit(connection, bytes, length) && emit(connection, bytes, length);
	case HTTP:
		connection->in += length;
		return on_http(connection);
	default:
		return true;
	}
}

/* The peer sent its last byte: answer if the mode requires it, then end. */
static bool on_end(struct connection *connection)
{
	char answer[256];

	connection->peer_ended = true;
	connection->close_after = true;
	if (connection->listener->mode != HALFCLOSE)
		return true;
	snprintf(answer, sizeof(answer), "%s %llu\n", connection->listener->name,
		 (unsigned long long)connection->received);
	return emit(connection, answer, strlen(answer));
}

static bool on_readable(struct connection *connection)
{
	char *into = scratch;
	size_t room = sizeof(scratch);
	ssize_t got;

	if (connection->listener->mode == HTTP) {
		if (!connection->buffer && !(connection->buffer = malloc(BUFFER_SIZE)))
			die("out of memory");
		into = connection->buffer + connection->in;
		room = BUFFER_SIZE - connection->in;
	}
	got = recv(connection->file, into, room, 0);
	if (got < 0)
		return errno == EAGAIN;
	if (got == 0)
		return on_end(connection);
	connection->received += (uint64_t)got;
	connection->listener->bytes += (uint64_t)got;
	return on_bytes(connection, into, (size_t)got);
}

static bool on_writable(struct connection *connection)
{
	ssize_t wrote = send(connection->file, connection->pending + connection->sent,
			     connection->out - connection->sent, MSG_NOSIGNAL);

	if (wrote < 0)
		return errno == EAGAIN;
	connection->sent += (size_t)wrote;
	if (connection->sent == connection->out)
		watch(connection->file, EPOLLIN, connection, EPOLL_CTL_MOD);
	return true;
}

static void on_connection(struct connection *connection, uint32_t events)
{
	bool alive = true;

	if (events & EPOLLOUT)
		alive = on_writable(connection);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		alive = on_readable(connection);
	if (!alive || (connection->close_after && connection->out == connection->sent))
		drop(connection);
}

static void on_accept(struct listener *listener)
{
	for (int i = 0; i < 64; i++) {
		int on = 1,
		    file = accept4(listener->file, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct connection *connection;

		if (file < 0)
			return;
		listener->connections++;
		setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (listener->mode == BANNER) {
			char banner[160];
			int length = snprintf(banner, sizeof(banner), "%s\n", listener->name);

			send(file, banner, (size_t)length, MSG_NOSIGNAL);
			close(file);
			continue;
		}
		connection = calloc(1, sizeof(*connection));
		if (!connection)
			die("out of memory");
		connection->kind = CONNECTION;
		connection->file = file;
		connection->listener = listener;
		watch(file, listener->mode == SILENT ? 0 : EPOLLIN, connection, EPOLL_CTL_ADD);
	}
}

static void on_datagram(struct listener *listener)
{
	union address from;
	socklen_t size = sizeof(from);
	char answer[2304], datagram[2049];
	ssize_t got = recvfrom(listener->file, datagram, sizeof(datagram) - 1, 0, &from.any, &size);

	if (got < 0)
		return;
	listener->connections++;
	listener->bytes += (uint64_t)got;
	datagram[got] = '\0';
	snprintf(answer, sizeof(answer), "%s %s", listener->name, datagram);
	sendto(listener->file, answer, strlen(answer), 0, &from.any, size);
}

static int mode_of(const char *name)
{
	for (int mode = 0; mode < MODE_COUNT; mode++)
		if (strcmp(mode_names[mode], name) == 0)
			return mode;
	return -1;
}

static const char *open_listener(struct listener *listener, const char *ip)
{
	bool datagrams = listener->kind == DATAGRAMS;
	union address address;
	int on = 1, off = 0;

	if (!parse_address(ip, listener->port, false, &address))
		return "EINVAL";
	listener->file =
	    socket(address.any.sa_family,
		   (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->file < 0)
		return error_name(errno);
	setsockopt(listener->file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address.any.sa_family == AF_INET6)
		setsockopt(listener->file, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(listener->file, &address.any, address_size(&address)) != 0 ||
	    (!datagrams && listen(listener->file, 4096) != 0)) {
		int error = errno;

		close(listener->file);
		return error_name(error);
	}
	watch(listener->file, EPOLLIN, listener, EPOLL_CTL_ADD);
	return NULL;
}

static void on_listen(const char *line)
{
	char protocol[8] = "", mode[16] = "", ip[ADDRESS_TEXT_SIZE] = "::";
	struct listener *listener = calloc(1, sizeof(*listener));
	unsigned int port = 0;
	const char *error = "EINVAL";
	int parsed;

	if (!listener || listener_count == MAX_LISTENERS)
		die("too many listeners");
	parsed = sscanf(line, "listen %7s %u %15s %127s %63s", protocol, &port, mode,
			listener->name, ip);
	listener->port = (uint16_t)port;
	listener->kind = strcmp(protocol, "udp") == 0 ? DATAGRAMS : LISTENER;
	if (parsed >= 4 && mode_of(mode) >= 0) {
		listener->mode = (enum mode)mode_of(mode);
		error = open_listener(listener, ip);
	}
	if (error) {
		printf("{\"error\":\"%s\",\"port\":%u}\n", error, port);
		free(listener);
		return;
	}
	listeners[listener_count++] = listener;
	printf("{\"listening\":%u}\n", port);
}

/* A closed listener stays in memory: its connections still name it. */
static void on_close(unsigned int port)
{
	int closed = 0;

	for (int i = 0; i < listener_count; i++) {
		if (listeners[i]->port != port || listeners[i]->file < 0)
			continue;
		close(listeners[i]->file);
		listeners[i]->file = -1;
		closed++;
	}
	printf("{\"closed\":%d}\n", closed);
}

static void on_count(void)
{
	printf("{\"listeners\":[");
	for (int i = 0; i < listener_count; i++)
		printf("%s{\"name\":\"%s\",\"port\":%u,\"connections\":%llu,\"bytes\":%llu}",
		       i ? "," : "", listeners[i]->name, listeners[i]->port,
		       (unsigned long long)listeners[i]->connections,
		       (unsigned long long)listeners[i]->bytes);
	printf("]}\n");
}

static void on_control(struct line_reader *reader)
{
	char line[1024];
	unsigned int port;

	if (!read_more(reader))
		exit(0);
	while (next_line(reader, line, sizeof(line))) {
		if (strncmp(line, "listen ", 7) == 0)
			on_listen(line);
		else if (sscanf(line, "close %u", &port) == 1)
			on_close(port);
		else if (strcmp(line, "count") == 0)
			on_count();
		else
			printf("{\"error\":\"EINVAL\"}\n");
	}
	fflush(stdout);
}

int main(void)
{
	static struct line_reader reader;
	enum kind control = CONTROL;
	struct epoll_event events[256];

	poller = epoll_create1(EPOLL_CLOEXEC);
	watch(STDIN_FILENO, EPOLLIN, &control, EPOLL_CTL_ADD);
	for (;;) {
		int ready = epoll_wait(poller, events, 256, -1);

		for (int i = 0; i < ready; i++) {
			switch (*(enum kind *)events[i].data.ptr) {
			case CONTROL:
				on_control(&reader);
				break;
			case LISTENER:
				on_accept(events[i].data.ptr);
				break;
			case DATAGRAMS:
				on_datagram(events[i].data.ptr);
				break;
			case CONNECTION:
				on_connection(events[i].data.ptr, events[i].events);
				break;
			}
		}
	}
}
