// SPDX-License-Identifier: Apache-2.0
/*
 * dial: a pod's clients, up to --concurrency at once, in one process.
 *
 *   dial [--connections N] [--concurrency N] [--mode banner|http|halfclose] [--requests N] [--host
 * TEXT]
 *        [--path TEXT] [--timeout-ms N] [--bytes N] [--mapped]
 *        [--extra-headers] [--mark N] [--source IP]... <ip> <port> [<ip> <port>]...
 *
 * Each connection goes to the next target in turn, is answered by an endpoint that sends its name,
 * and is counted under that name. --connections 0 runs until stopped. Standard input
 * understands, and answers with one JSON line:
 *
 *   epoch <number>   connections that begin from now on are counted under this number as well
 *   count            how many connections have begun, and have ended
 *   stop             begins no more; the report follows when the running ones have ended
 *
 * The last line of standard output is the report, one JSON object.
 */
#include "common.h"

#define MAX_TARGETS 256
#define MAX_ENDPOINTS 4096
#define MAX_SAMPLES (1u << 20)
#define MAX_FAILURES 64
#define RESPONSE_SIZE 4096

enum mode { BANNER, HTTP, HALFCLOSE };

struct options {
	enum mode mode;
	uint64_t connections;
	unsigned int concurrency;
	unsigned int requests;
	unsigned int timeout_ms;
	size_t bytes;
	bool mapped;
	bool extra_headers;
	uint32_t mark; /* SO_MARK; 0 for none */
	union address source4, source6;
	const char *host;
	const char *path;
};

struct target {
	union address address;
	char text[ADDRESS_TEXT_SIZE];
};

struct client {
	int file; /* -1: idle */
	bool connected;
	unsigned int target;
	unsigned int epoch;
	unsigned int requests_left;
	uint64_t started;
	size_t sent;
	size_t in;
	char response[RESPONSE_SIZE + 1];
};

/* Number of answers of an endpoint to connections that began in an epoch. */
struct tally {
	unsigned int epoch;
	uint64_t count;
	char name[128];
};

struct failure {
	const char *step;
	char reason[48];
	char target[ADDRESS_TEXT_SIZE];
	uint64_t count;
};

static struct options options = {
    .concurrency = 1,
    .connections = 1,
    .requests = 1,
    .timeout_ms = 5000,
    .host = "lab",
    .path = "/",
};
static struct target targets[MAX_TARGETS];
static unsigned int target_count;
static struct client *clients;
static struct tally *tallies;
static unsigned int tally_count, tally_room;
static struct failure failures[MAX_FAILURES];
static unsigned int failure_count;
static uint64_t failed, begun, ended, wrong_peer;
static char wrong_peer_text[ADDRESS_TEXT_SIZE]; /* the last one seen */
static unsigned int epoch, running;
static bool stopping, input_open = true;
static uint32_t *samples;
static uint32_t sample_count;
static char *payload;
static size_t payload_size;
static int poller;

static void count_failure(const struct client *client, const char *step, const char *reason)
{
	const char *target = targets[client->target].text;

	failed++;
	for (unsigned int i = 0; i < failure_count; i++)
		if (strcmp(failures[i].step, step) == 0 &&
		    strcmp(failures[i].reason, reason) == 0 &&
		    strcmp(failures[i].target, target) == 0) {
			failures[i].count++;
			return;
		}
	if (failure_count == MAX_FAILURES)
		return;
	failures[failure_count].step = step;
	failures[failure_count].count = 1;
	snprintf(failures[failure_count].reason, sizeof(failures[0].reason), "%s", reason);
	snprintf(failures[failure_count++].target, sizeof(failures[0].target), "%s", target);
}

/* Newest first: a connection mostly belongs to an epoch that was just counted. */
static void count_endpoint(unsigned int at, const char *name)
{
	for (unsigned int i = tally_count; i-- > 0;)
		if (tallies[i].epoch == at && strcmp(tallies[i].name, name) == 0) {
			tallies[i].count++;
			return;
		}
	if (tally_count == tally_room) {
		tally_room = tally_room ? tally_room * 2 : 64;
		tallies = realloc(tallies, tally_room * sizeof(*tallies));
		if (!tallies)
			die("out of memory");
	}
	tallies[tally_count].epoch = at;
	tallies[tally_count].count = 1;
	snprintf(tallies[tally_count++].name, sizeof(tallies[0].name), "%s", name);
}

static void finish(struct client *client)
{
	close(client->file);
	client->file = -1;
	running--;
	ended++;
}

static void fail(struct client *client, const char *step, const char *reason)
{
	count_failure(client, step, reason);
	finish(client);
}

/* getpeername must return the dialled address, with any endpoint. */
static void check_peer(const struct client *client)
{
	const union address *dialled = &targets[client->target].address;
	union address peer;
	socklen_t size = sizeof(peer);

	if (getpeername(client->file, &peer.any, &size) != 0)
		return; /* the server closed first */
	if (dialled->any.sa_family == AF_INET
		? peer.v4.sin_addr.s_addr != dialled->v4.sin_addr.s_addr ||
		      peer.v4.sin_port != dialled->v4.sin_port
		: memcmp(&peer.v6.sin6_addr, &dialled->v6.sin6_addr, 16) != 0 ||
		      peer.v6.sin6_port != dialled->v6.sin6_port) {
		wrong_peer++;
		address_text(&peer, wrong_peer_text);
	}
}

/* Packets get IP options without a meaning, or an IPv6 destination options header. */
static void add_extra_headers(int file, int family)
{
	static const unsigned char nothing[] = {1, 1, 1, 0};
	static const unsigned char destination[] = {0, 0, 1, 4, 0, 0, 0, 0};
	int result =
	    family == AF_INET
		? setsockopt(file, IPPROTO_IP, IP_OPTIONS, nothing, sizeof(nothing))
		: setsockopt(file, IPPROTO_IPV6, IPV6_DSTOPTS, destination, sizeof(destination));

	if (result != 0)
		die("extra headers: %s", strerror(errno));
}

/* A mark and a source address that the application sets itself. */
static void set_origin(int file, int family)
{
	const union address *source = family == AF_INET ? &options.source4 : &options.source6;

	if (options.mark &&
	    setsockopt(file, SOL_SOCKET, SO_MARK, &options.mark, sizeof(options.mark)) != 0)
		die("mark: %s", strerror(errno));
	if (source->any.sa_family != AF_UNSPEC &&
	    bind(file, &source->any, address_size(source)) != 0)
		die("source address: %s", strerror(errno));
}

static void begin(struct client *client)
{
	struct target *target = &targets[begun % target_count];
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
	int on = 1, result;

	client->target = (unsigned int)(begun % target_count);
	client->epoch = epoch;
	client->connected = false;
	client->sent = client->in = 0;
	client->requests_left = options.requests;
	client->started = now_ns();
	begun++;
	running++;
	client->file =
	    socket(target->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->file < 0)
		die("socket: %s", strerror(errno));
	setsockopt(client->file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (options.extra_headers)
		add_extra_headers(client->file, target->address.any.sa_family);
	set_origin(client->file, target->address.any.sa_family);
	result = connect(client->file, &target->address.any, address_size(&target->address));
	if (result != 0 && errno != EINPROGRESS) {
		fail(client, "connect", error_name(errno));
		return;
	}
	if (epoll_ctl(poller, EPOLL_CTL_ADD, client->file, &event) != 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void succeed(struct client *client, const char *name)
{
	uint64_t took = now_ns() - client->started;

	if (sample_count < MAX_SAMPLES)
		samples[sample_count++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	count_endpoint(client->epoch, name);
}

/* First line of the answer, up to a space: the endpoint's name. */
static void on_banner_end(struct client *client)
{
	size_t length = strcspn(client->response, " \n");

	if (length == client->in)
		return fail(client, "read", client->in == 0 ? "EMPTY" : "TRUNCATED");
	client->response[length] = '\0';
	succeed(client, client->response);
	finish(client);
}

/*
 * Removes one complete response from the buffer. Returns -1 if it is malformed, 0 if bytes are
 * missing, else 1.
 */
static int take_response(struct client *client, char *name, size_t size)
{
	char *end = strstr(client->response, "\r\n\r\n"), *field;
	size_t whole;

	if (!end)
		return client->in == RESPONSE_SIZE ? -1 : 0;
	field = strcasestr(client->response, "\r\ncontent-length:");
	if (strncmp(client->response, "HTTP/1.1 200", 12) != 0 || !field)
		return -1;
	whole = (size_t)(end + 4 - client->response) + strtoul(field + 17, NULL, 10);
	if (client->in < whole)
		return whole > RESPONSE_SIZE ? -1 : 0;
	field = strcasestr(client->response, "\r\nx-endpoint:");
	snprintf(name, size, "%s", "?");
	if (field) {
		field += 13 + strspn(field + 13, " ");
		snprintf(name, size, "%.*s", (int)strcspn(field, "\r\n"), field);
	}
	client->in -= whole;
	memmove(client->response, client->response + whole, client->in + 1);
	return 1;
}

static bool send_payload(struct client *client)
{
	while (client->sent < payload_size) {
		ssize_t wrote = send(client->file, payload + client->sent,
				     payload_size - client->sent, MSG_NOSIGNAL);

		if (wrote < 0) {
			if (errno == EAGAIN)
				return true;
			fail(client, "write", error_name(errno));
			return false;
		}
		client->sent += (size_t)wrote;
	}
	if (options.mode == HALFCLOSE)
		shutdown(client->file, SHUT_WR);
	return true;
}

/* Returns whether the connection is still open. */
static bool on_response(struct client *client)
{
	char name[128];
	int taken = take_response(client, name, sizeof(name));

	if (taken < 0) {
		fail(client, "read", "BAD_RESPONSE");
		return false;
	}
	if (taken == 0)
		return true;
	succeed(client, name);
	if (--client->requests_left == 0) {
		finish(client);
		return false;
	}
	client->started = now_ns();
	client->sent = 0;
	return send_payload(client);
}

static void on_readable(struct client *client)
{
	for (;;) {
		ssize_t got = recv(client->file, client->response + client->in,
				   RESPONSE_SIZE - client->in, 0);

		if (got < 0) {
			if (errno != EAGAIN)
				fail(client, "read", error_name(errno));
			return;
		}
		client->in += (size_t)got;
		client->response[client->in] = '\0';
		if (got == 0) {
			if (options.mode == HTTP)
				return fail(client, "read", "EARLY_END");
			return on_banner_end(client);
		}
		if (options.mode == HTTP && !on_response(client))
			return;
		if (client->in == RESPONSE_SIZE)
			return fail(client, "read", "TOO_LONG");
	}
}

static void on_event(struct client *client, uint32_t events)
{
	if (client->file < 0)
		return;
	if (!client->connected) {
		int error = 0;
		socklen_t size = sizeof(error);

		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		getsockopt(client->file, SOL_SOCKET, SO_ERROR, &error, &size);
		if (error)
			return fail(client, "connect", error_name(error));
		client->connected = true;
		check_peer(client);
	}
	if (client->sent < payload_size && !send_payload(client))
		return;
	on_readable(client);
}

static void check_timeouts(void)
{
	static uint64_t checked;
	uint64_t now = now_ns(), oldest = now - (uint64_t)options.timeout_ms * 1000000u;

	if (now - checked < 100000000u)
		return;
	checked = now;
	for (unsigned int i = 0; i < options.concurrency; i++)
		if (clients[i].file >= 0 && clients[i].started < oldest)
			fail(&clients[i], clients[i].connected ? "read" : "connect", "TIMEOUT");
}

static void on_input(struct line_reader *reader)
{
	char line[256];

	if (!read_more(reader)) {
		epoll_ctl(poller, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
		input_open = false;
		stopping |= options.connections == 0;
	}
	while (next_line(reader, line, sizeof(line))) {
		if (sscanf(line, "epoch %u", &epoch) == 1) {
			printf("{\"epoch\":%u}\n", epoch);
		} else if (strcmp(line, "count") == 0) {
			printf("{\"begun\":%llu,\"ended\":%llu}\n", (unsigned long long)begun,
			       (unsigned long long)ended);
		} else if (strcmp(line, "stop") == 0) {
			stopping = true;
			printf("{\"stopping\":true}\n");
		}
	}
	fflush(stdout);
}

static int by_value(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return a < b ? -1 : a > b;
}

static void report(uint64_t took)
{
	uint64_t total = 0;

	qsort(samples, sample_count, sizeof(*samples), by_value);
	for (uint32_t i = 0; i < sample_count; i++)
		total += samples[i];
	printf("{\"report\":true,\"connections\":%llu,\"failed\":%llu,\"wrongPeer\":%llu,"
	       "\"elapsedNs\":%llu",
	       (unsigned long long)ended, (unsigned long long)failed,
	       (unsigned long long)wrong_peer, (unsigned long long)took);
	if (sample_count)
		printf(",\"latencyNs\":{\"mean\":%llu,\"p50\":%u,\"p99\":%u,\"max\":%u}",
		       (unsigned long long)(total / sample_count), samples[sample_count / 2],
		       samples[(uint64_t)sample_count * 99 / 100], samples[sample_count - 1]);
	if (wrong_peer)
		printf(",\"wrongPeerSeen\":\"%s\"", wrong_peer_text);
	printf(",\"answers\":[");
	for (unsigned int i = 0; i < tally_count; i++) {
		printf("%s[%u,", i ? "," : "", tallies[i].epoch);
		print_json_string(stdout, tallies[i].name);
		printf(",%llu]", (unsigned long long)tallies[i].count);
	}
	printf("],\"failures\":[");
	for (unsigned int i = 0; i < failure_count; i++)
		printf("%s{\"step\":\"%s\",\"reason\":\"%s\",\"target\":\"%s\",\"count\":%llu}",
		       i ? "," : "", failures[i].step, failures[i].reason, failures[i].target,
		       (unsigned long long)failures[i].count);
	printf("]}\n");
	fflush(stdout);
}

static void make_payload(void)
{
	char request[2048];

	if (options.mode == HTTP) {
		snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n",
			 options.path, options.host,
			 options.requests == 1 ? "Connection: close\r\n" : "");
		payload = strdup(request);
		payload_size = strlen(request);
	} else if (options.mode == HALFCLOSE) {
		payload_size = options.bytes ? options.bytes : 11;
		payload = malloc(payload_size);
		for (size_t i = 0; payload && i < payload_size; i++)
			payload[i] = (char)i;
	}
}

static const char *value_of(int count, char **arguments, int *at)
{
	if (*at + 1 >= count)
		die("%s needs a value", arguments[*at]);
	return arguments[++*at];
}

static void read_mode(const char *text)
{
	if (strcmp(text, "banner") == 0)
		options.mode = BANNER;
	else if (strcmp(text, "http") == 0)
		options.mode = HTTP;
	else if (strcmp(text, "halfclose") == 0)
		options.mode = HALFCLOSE;
	else
		die("--mode is banner, http or halfclose, not %s", text);
}

static void read_source(const char *ip)
{
	if (!parse_address(ip, 0, false, strchr(ip, ':') ? &options.source6 : &options.source4))
		die("%s is not an IP address", ip);
}

static void read_arguments(int count, char **arguments)
{
	for (int i = 1; i < count; i++) {
		const char *name = arguments[i];

		if (strcmp(name, "--mapped") == 0)
			options.mapped = true;
		else if (strcmp(name, "--extra-headers") == 0)
			options.extra_headers = true;
		else if (strcmp(name, "--connections") == 0)
			options.connections = strtoull(value_of(count, arguments, &i), NULL, 10);
		else if (strcmp(name, "--concurrency") == 0)
			options.concurrency = (unsigned int)atoi(value_of(count, arguments, &i));
		else if (strcmp(name, "--requests") == 0)
			options.requests = (unsigned int)atoi(value_of(count, arguments, &i));
		else if (strcmp(name, "--timeout-ms") == 0)
			options.timeout_ms = (unsigned int)atoi(value_of(count, arguments, &i));
		else if (strcmp(name, "--bytes") == 0)
			options.bytes = strtoul(value_of(count, arguments, &i), NULL, 10);
		else if (strcmp(name, "--host") == 0)
			options.host = value_of(count, arguments, &i);
		else if (strcmp(name, "--path") == 0)
			options.path = value_of(count, arguments, &i);
		else if (strcmp(name, "--mark") == 0)
			options.mark = (uint32_t)strtoul(value_of(count, arguments, &i), NULL, 0);
		else if (strcmp(name, "--source") == 0)
			read_source(value_of(count, arguments, &i));
		else if (strcmp(name, "--mode") == 0)
			read_mode(value_of(count, arguments, &i));
		else if (target_count < MAX_TARGETS) {
			struct target *target = &targets[target_count++];
			const char *port = value_of(count, arguments, &i);

			if (!parse_address(name, (uint16_t)atoi(port), options.mapped,
					   &target->address))
				die("%s is not an IP address", name);
			address_text(&target->address, target->text);
		}
	}
	if (target_count == 0 || options.concurrency == 0 || options.requests == 0)
		die("dial needs a target, and at least one client and request");
}

int main(int count, char **arguments)
{
	static struct line_reader reader;
	struct epoll_event events[256], input = {.events = EPOLLIN, .data.ptr = NULL};
	uint64_t started;

	read_arguments(count, arguments);
	make_payload();
	raise_descriptor_limit();
	poller = epoll_create1(EPOLL_CLOEXEC);
	clients = calloc(options.concurrency, sizeof(*clients));
	samples = malloc(MAX_SAMPLES * sizeof(*samples));
	if (!clients || !samples)
		die("out of memory");
	for (unsigned int i = 0; i < options.concurrency; i++)
		clients[i].file = -1;
	if (epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
		input_open = false; /* a file or /dev/null: no commands */
	started = now_ns();
	for (;;) {
		int ready;

		stopping |= options.connections != 0 && begun >= options.connections;
		for (unsigned int i = 0; i < options.concurrency && !stopping; i++) {
			if (clients[i].file < 0)
				begin(&clients[i]);
			stopping |= options.connections != 0 && begun >= options.connections;
		}
		if (stopping && running == 0)
			break;
		ready = epoll_wait(poller, events, 256, running == 0 ? 0 : 100);
		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr)
				on_event(events[i].data.ptr, events[i].events);
			else
				on_input(&reader);
		}
		check_timeouts();
	}
	report(now_ns() - started);
	return failed == 0 ? 0 : 3;
}
