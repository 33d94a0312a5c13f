// SPDX-License-Identifier: Apache-2.0
/*
 * Integrity of a byte stream: two programs that send each other numbered bytes in every way that
 * sockets offer, and check each byte that arrives.
 *
 * usage: oracle serve PORT
 *        oracle dial ADDRESS PORT STYLE CONNECTIONS ROUNDS LARGEST SEED
 *
 * A connection is rounds of request and answer of random sizes up to LARGEST, each sent in random
 * pieces; in style "duplex" both sides send all the time. The style is how both sides read; the
 * client names it in its first 16 bytes. In style "hold" the server reads nothing before a byte comes
 * on its standard input, and the client prints the line "held" when none of its connections takes
 * more. `serve` runs until its standard input ends. Both print one JSON line with what they counted;
 * any wrong, missing or surplus byte is a failure, and so is a
 * read that plain TCP would have answered otherwise. With ORACLE_TOLERATE_BREAKS connections may
 * break, since the test kills the other side.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum style {
	STYLE_PLAIN,	/* blocking recv of random sizes */
	STYLE_POLL,	/* non-blocking, poll */
	STYLE_EDGE,	/* non-blocking, edge-triggered epoll */
	STYLE_VECTOR,	/* non-blocking, into small pieces */
	STYLE_PEEK,	/* every other read is peeked first */
	STYLE_ALL,	/* MSG_WAITALL */
	STYLE_TURNS,	/* answers are read in the opposite order of the requests */
	STYLE_HOLD,	/* the server reads nothing until a command */
	STYLE_LOWAT,	/* SO_RCVLOWAT */
	STYLE_SPLICE,	/* splice into a pipe */
	STYLE_SLOW,	/* non-blocking, pauses between reads */
	STYLE_SENDFILE, /* sends by sendfile, reads as poll */
	STYLE_INQ,	/* asks SIOCINQ before reading */
	STYLE_DUPLEX,	/* both directions at once */
	STYLE_MIX,	/* poll, vector, slow by turns */
	STYLE_COUNT,
};

static const char *const style_names[] = {"plain", "poll",     "edge", "vector", "peek",
					  "all",   "turns",    "hold", "lowat",	 "splice",
					  "slow",  "sendfile", "inq",  "duplex", "mix"};

#define PATTERN_PERIOD (251 * 256)
#define LARGEST_BUFFER (1 << 20)
#define STALL_MS 500
#define PATIENCE_MS 60000

struct stream {
	int fd;
	enum style style;
	uint32_t largest, rounds;
	uint64_t sent, read; /* payload position of each direction */
	uint64_t random;
	uint32_t index; /* of the client's connections */
	int pipe[2];
	int epoll;
	char *buffer;
	bool client, stalled;
};

static atomic_int active;
static atomic_ulong bytes_checked, connections, failures, broken;
static char pattern[PATTERN_PERIOD + LARGEST_BUFFER];
static int pattern_file;
static bool tolerate_breaks;
static uint32_t client_count;
static atomic_uint turn;
static atomic_ulong held; /* most bytes that a connection took without a reader */
static atomic_uint stalled; /* connections that took no more for a while */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opened = PTHREAD_COND_INITIALIZER;
static bool gate_open; /* under gate: servers of style "hold" may read */

static uint32_t draw(struct stream *s, uint32_t below)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return (uint32_t)(s->random >> 16) % below;
}

static void fail(struct stream *s, const char *what)
{
	if (atomic_fetch_add(&failures, 1) < 5)
		fprintf(stderr, "%s %s: %s at sent %llu read %llu: %s\n",
			s->client ? "client" : "server", style_names[s->style], what,
			(unsigned long long)s->sent, (unsigned long long)s->read, strerror(errno));
}

/* A read was short although it must not be: correct only if the other side was killed. */
static void judge_short(struct stream *s, const char *what)
{
	char byte;
	ssize_t left = recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (tolerate_breaks && (left == 0 || (left < 0 && errno == ECONNRESET)))
		return;
	errno = 0;
	fail(s, what);
}

static bool check(struct stream *s, const char *bytes, size_t length)
{
	size_t done = 0;

	while (done < length) {
		size_t chunk = length - done > LARGEST_BUFFER ? LARGEST_BUFFER : length - done;

		if (memcmp(bytes + done, pattern + s->read % PATTERN_PERIOD, chunk)) {
			errno = 0;
			fail(s, "wrong byte");
			return false;
		}
		s->read += chunk;
		done += chunk;
	}
	atomic_fetch_add(&bytes_checked, length);
	return true;
}

/* Non-blocking: waits by poll if there are no bytes. */
static ssize_t poll_and_read(struct stream *s, struct iovec *pieces, int count)
{
	struct pollfd poller = {.fd = s->fd, .events = POLLIN};
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
	ssize_t got;

	while ((got = recvmsg(s->fd, &message, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		if (poll(&poller, 1, 20000) == 0)
			return -1;
	return got;
}

static ssize_t wait_and_read(struct stream *s, size_t want)
{
	struct epoll_event event;
	struct pollfd poller = {.fd = s->fd, .events = POLLIN};
	struct iovec pieces[3];
	ssize_t got;
	int low, waiting;

	switch (s->style == STYLE_MIX
		    ? (enum style[]){STYLE_POLL, STYLE_VECTOR, STYLE_SLOW}[draw(s, 3)]
		    : s->style) {
	case STYLE_POLL:
	case STYLE_DUPLEX:
	case STYLE_SENDFILE:
		pieces[0] = (struct iovec){s->buffer, want};
		return poll_and_read(s, pieces, 1);
	case STYLE_EDGE:
		while ((got = recv(s->fd, s->buffer, want, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
			if (epoll_wait(s->epoll, &event, 1, 20000) == 0)
				return -1;
		return got;
	case STYLE_VECTOR:
		low = want / 3;
		pieces[0] = (struct iovec){s->buffer, low};
		pieces[1] = (struct iovec){s->buffer + low, low};
		pieces[2] = (struct iovec){s->buffer + 2 * low, want - 2 * low};
		return poll_and_read(s, pieces, 3);
	case STYLE_PEEK:
		if (draw(s, 2)) {
			got = recv(s->fd, s->buffer, want, MSG_PEEK);
			if (got <= 0)
				return got;
			if (memcmp(s->buffer, pattern + s->read % PATTERN_PERIOD, got)) {
				errno = 0;
				fail(s, "wrong byte peeked");
				return -1;
			}
		}
		return recv(s->fd, s->buffer, want, 0);
	case STYLE_ALL:
		got = recv(s->fd, s->buffer, want, MSG_WAITALL);
		if (got > 0 && (size_t)got < want)
			judge_short(s, "MSG_WAITALL came back short");
		return got;
	case STYLE_LOWAT:
		low = want > 600 ? 600 : want;
		setsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
		if (poll(&poller, 1, 20000) == 0)
			return -1;
		got = recv(s->fd, s->buffer, want, 0);
		if (got > 0 && got < low)
			judge_short(s, "SO_RCVLOWAT came back short");
		return got;
	case STYLE_SPLICE:
		got = splice(s->fd, NULL, s->pipe[1], NULL, want > 65536 ? 65536 : want,
			     SPLICE_F_MOVE);
		if (got <= 0)
			return got;
		for (ssize_t at = 0; at < got;) {
			ssize_t part = read(s->pipe[0], s->buffer + at, got - at);
			if (part <= 0)
				return -1;
			at += part;
		}
		return got;
	case STYLE_SLOW:
		if (draw(s, 4) == 0)
			usleep(draw(s, 2000));
		pieces[0] = (struct iovec){s->buffer, want < 1000 ? want : 1000};
		return poll_and_read(s, pieces, 1);
	case STYLE_INQ:
		if (poll(&poller, 1, 20000) == 0)
			return -1;
		if (ioctl(s->fd, FIONREAD, &waiting) == 0 && waiting == 0 &&
		    !(poller.revents & POLLHUP)) {
			char byte;

			if (recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0 &&
			    ioctl(s->fd, FIONREAD, &waiting) == 0 && waiting == 0) {
				errno = 0;
				fail(s, "SIOCINQ says 0 with bytes there");
			}
		}
		return recv(s->fd, s->buffer, want, 0);
	default:
		return recv(s->fd, s->buffer, want, 0);
	}
}

static bool read_payload(struct stream *s, size_t length)
{
	while (length) {
		size_t want = 1 + draw(s, length < LARGEST_BUFFER ? length : LARGEST_BUFFER);
		ssize_t got = wait_and_read(s, want);

		if (got <= 0) {
			if (tolerate_breaks && (got == 0 || errno == ECONNRESET))
				atomic_fetch_add(&broken, 1);
			else
				fail(s, got ? "read" : "early end");
			return false;
		}
		if (!check(s, s->buffer, got))
			return false;
		length -= got;
	}
	return true;
}

/* Counts the accepted bytes once no more are accepted for a while. */
static ssize_t send_patiently(struct stream *s, const char *bytes, size_t length)
{
	struct pollfd poller = {.fd = s->fd, .events = POLLOUT};
	unsigned long most;
	ssize_t done;

	while ((done = send(s->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT)) < 0 &&
	       errno == EAGAIN) {
		if (poll(&poller, 1, STALL_MS) != 0)
			continue;
		most = held;
		while (most < s->sent && !atomic_compare_exchange_weak(&held, &most, s->sent))
			;
		if (!s->stalled && atomic_fetch_add(&stalled, 1) + 1 == client_count) {
			puts("held");
			fflush(stdout);
		}
		s->stalled = true;
		if (poll(&poller, 1, PATIENCE_MS) == 0)
			return -1;
	}
	return done;
}

static bool send_payload(struct stream *s, size_t length)
{
	while (length) {
		size_t chunk = draw(s, 3) ? length : 1 + draw(s, length);
		off_t offset = s->sent % PATTERN_PERIOD;
		ssize_t done;

		if (chunk > LARGEST_BUFFER)
			chunk = LARGEST_BUFFER;
		if (s->style == STYLE_HOLD && s->client) {
			done = send_patiently(s, pattern + offset, chunk);
		} else if (s->style == STYLE_SENDFILE) {
			done = sendfile(s->fd, pattern_file, &offset, chunk);
		} else if (draw(s, 4) == 0) {
			struct iovec pieces[2] = {
			    {pattern + offset, chunk / 2},
			    {pattern + offset + chunk / 2, chunk - chunk / 2}};
			done = writev(s->fd, pieces, 2);
		} else {
			done =
			    send(s->fd, pattern + offset, chunk,
				 MSG_NOSIGNAL | (draw(s, 8) == 0 && chunk < length ? MSG_MORE : 0));
		}
		if (done <= 0) {
			if (tolerate_breaks && (errno == EPIPE || errno == ECONNRESET))
				atomic_fetch_add(&broken, 1);
			else
				fail(s, "send");
			return false;
		}
		s->sent += done;
		length -= done;
	}
	return true;
}

/* Both sides draw the same sizes: the length goes before the bytes, as 4 bytes that are not
 * numbered. */
static bool send_message(struct stream *s, uint32_t length)
{
	if (send(s->fd, &length, 4, MSG_NOSIGNAL | (draw(s, 2) ? MSG_MORE : 0)) != 4) {
		if (tolerate_breaks)
			atomic_fetch_add(&broken, 1);
		else
			fail(s, "send length");
		return false;
	}
	return send_payload(s, length);
}

static bool read_message(struct stream *s)
{
	uint32_t length = 0;
	char *into = (char *)&length;
	size_t left = 4;

	while (left) {
		uint64_t position = s->read;
		ssize_t got;

		/* Peeked bytes are compared with the numbered bytes. */
		if (s->style == STYLE_PEEK)
			got = recv(s->fd, s->buffer, left, 0);
		else
			got = wait_and_read(s, left);
		s->read = position;
		if (got <= 0) {
			if (tolerate_breaks)
				atomic_fetch_add(&broken, 1);
			else
				fail(s, "read length");
			return false;
		}
		memcpy(into + 4 - left, s->buffer, got);
		left -= got;
	}
	if (length > s->largest) {
		errno = 0;
		fail(s, "wrong length");
		return false;
	}
	return read_payload(s, length);
}

static uint32_t draw_length(struct stream *s)
{
	/* Mostly small, like messages; sometimes large. */
	return 1 + draw(s, draw(s, 8) ? (s->largest < 2000 ? s->largest : 2000) : s->largest);
}

static void *send_all(void *argument)
{
	struct stream *s = argument;

	for (uint32_t round = 0; round < s->rounds; round++)
		if (!send_message(s, draw_length(s)))
			return NULL;
	shutdown(s->fd, SHUT_WR);
	return s;
}

static void run_duplex(struct stream *s)
{
	struct stream sender = *s;
	pthread_t thread;

	sender.random ^= 0x5555;
	pthread_create(&thread, NULL, send_all, &sender);
	for (uint32_t round = 0; round < s->rounds; round++) {
		if (draw(s, 32) == 0)
			usleep(draw(s, 20000));
		if (!read_message(s))
			break;
	}
	if (wait_and_read(s, 1) > 0) {
		errno = 0;
		fail(s, "bytes after the end");
	}
	pthread_join(thread, NULL);
}

/* Reads the answer of a round, in the opposite order of the requests if the style requires it. */
static bool read_in_turn(struct stream *s, uint32_t round)
{
	uint32_t mine = round * client_count + client_count - 1 - s->index;
	bool good;

	if (!s->client || s->style != STYLE_TURNS)
		return read_message(s);
	for (int waited = 0; turn != mine; waited++) {
		if (waited > PATIENCE_MS * 10) {
			fail(s, "its turn never came");
			return false;
		}
		usleep(100);
	}
	good = read_message(s);
	atomic_fetch_add(&turn, 1);
	return good;
}

static void wait_for_gate(void)
{
	pthread_mutex_lock(&gate);
	while (!gate_open)
		pthread_cond_wait(&gate_opened, &gate);
	pthread_mutex_unlock(&gate);
}

static void open_gate(void)
{
	pthread_mutex_lock(&gate);
	gate_open = true;
	pthread_cond_broadcast(&gate_opened);
	pthread_mutex_unlock(&gate);
}

static bool run_rounds(struct stream *s)
{
	if (s->style == STYLE_HOLD && !s->client)
		wait_for_gate();
	for (uint32_t round = 0; round < s->rounds; round++) {
		if (s->client &&
		    !send_message(s, s->style == STYLE_HOLD ? s->largest : draw_length(s)))
			return false;
		if (!read_in_turn(s, round))
			return false;
		if (!s->client && !send_message(s, draw_length(s)))
			return false;
	}
	/* Half-close: the server still answers after the client's end. */
	if (s->client) {
		shutdown(s->fd, SHUT_WR);
		if (!read_in_turn(s, s->rounds))
			return false;
	} else if (!send_message(s, s->style == STYLE_HOLD ? 1 : s->largest)) {
		return false;
	} else {
		shutdown(s->fd, SHUT_WR);
	}
	if (wait_and_read(s, 1) != 0 && !tolerate_breaks) {
		fail(s, "no clean end");
		return false;
	}
	return true;
}

static void run(struct stream *s)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};

	s->buffer = malloc(LARGEST_BUFFER + 16);
	if (pipe(s->pipe) != 0)
		abort();
	fcntl(s->pipe[1], F_SETPIPE_SZ, 1 << 17);
	s->epoll = epoll_create1(0);
	epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->fd, &event);
	if (s->style == STYLE_DUPLEX)
		run_duplex(s);
	else
		run_rounds(s);
	atomic_fetch_add(&connections, 1);
	close(s->fd);
	close(s->pipe[0]);
	close(s->pipe[1]);
	close(s->epoll);
	free(s->buffer);
	free(s);
}

struct hello {
	uint32_t style, rounds, largest, seed;
};

static void *serve_one(void *argument)
{
	struct stream *s = calloc(1, sizeof(*s));
	struct hello hello;
	int one = 1;

	s->fd = (int)(intptr_t)argument;
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (poll(&(struct pollfd){.fd = s->fd, .events = POLLIN}, 1, 20000) != 1 ||
	    recv(s->fd, &hello, sizeof(hello), MSG_DONTWAIT) != sizeof(hello)) {
		close(s->fd);
		free(s);
		atomic_fetch_sub(&active, 1);
		return NULL;
	}
	s->style = hello.style;
	s->rounds = hello.rounds;
	s->largest = hello.largest;
	s->random = hello.seed * 77777ull + 1;
	run(s);
	atomic_fetch_sub(&active, 1);
	return NULL;
}

static struct sockaddr_in6 target;

/* Returns whether its reads never wait. */
static bool reads_at_once(enum style style)
{
	switch (style) {
	case STYLE_POLL:
	case STYLE_EDGE:
	case STYLE_VECTOR:
	case STYLE_SLOW:
	case STYLE_SENDFILE:
	case STYLE_DUPLEX:
	case STYLE_MIX:
		return true;
	default:
		return false;
	}
}

/* As event loops do where their reads never wait; sends wait in any style. */
static int open_connection(struct stream *s)
{
	int type = SOCK_STREAM | (reads_at_once(s->style) ? SOCK_NONBLOCK : 0), failed = 0;
	struct pollfd poller = {.events = POLLOUT};
	socklen_t length = sizeof(failed);

	s->fd = poller.fd = socket(AF_INET6, type, 0);
	if (connect(s->fd, (struct sockaddr *)&target, sizeof(target)) != 0) {
		if (errno != EINPROGRESS || poll(&poller, 1, PATIENCE_MS) != 1)
			return -1;
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &failed, &length);
	}
	fcntl(s->fd, F_SETFL, 0);
	errno = failed;
	return failed ? -1 : 0;
}

static void *dial_one(void *argument)
{
	struct stream *s = argument;
	struct hello hello = {s->style, s->rounds, s->largest, (uint32_t)s->random};
	int one = 1;

	if (open_connection(s) != 0 ||
	    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
	    send(s->fd, &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello)) {
		if (tolerate_breaks)
			atomic_fetch_add(&broken, 1);
		else
			fail(s, "connect");
		close(s->fd);
		free(s);
		return NULL;
	}
	run(s);
	return NULL;
}

static void report(void)
{
	printf("{\"connections\":%lu,\"bytes\":%lu,\"failures\":%lu,\"broken\":%lu,\"held\":%lu}\n",
	       connections, bytes_checked, failures, broken, held);
	fflush(stdout);
}

static void *accept_all(void *argument)
{
	int listener = (int)(intptr_t)argument, fd;
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		atomic_fetch_add(&active, 1);
		pthread_create(&thread, &attributes, serve_one, (void *)(intptr_t)fd);
	}
	return NULL;
}

static int serve(int port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int listener = socket(AF_INET6, SOCK_STREAM, 0), one = 1;
	pthread_t thread;
	char byte;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) != 0 ||
	    listen(listener, 4096) != 0) {
		perror("listen");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	pthread_create(&thread, NULL, accept_all, (void *)(intptr_t)listener);
	while (read(0, &byte, 1) > 0)
		open_gate();
	open_gate();
	for (int waited = 0; active > 0 && waited < 2000; waited++)
		usleep(10000);
	report();
	return 0;
}

int main(int argc, char **argv)
{
	pthread_attr_t attributes;
	pthread_t *threads;
	enum style style;
	char text[64];
	int count, at;

	struct rlimit descriptors;

	signal(SIGPIPE, SIG_IGN);
	tolerate_breaks = getenv("ORACLE_TOLERATE_BREAKS") != NULL;
	getrlimit(RLIMIT_NOFILE, &descriptors);
	descriptors.rlim_cur = descriptors.rlim_max;
	setrlimit(RLIMIT_NOFILE, &descriptors);
	pattern_file = memfd_create("pattern", 0);
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)((i % PATTERN_PERIOD) % 251 + (i % PATTERN_PERIOD) / 251);
	if (write(pattern_file, pattern, sizeof(pattern)) != sizeof(pattern))
		return 1;
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(atoi(argv[2]));
	if (argc != 9 || strcmp(argv[1], "dial"))
		return 2;
	snprintf(text, sizeof(text), strchr(argv[2], ':') ? "%s" : "::ffff:%s", argv[2]);
	target.sin6_family = AF_INET6;
	target.sin6_port = htons(atoi(argv[3]));
	if (inet_pton(AF_INET6, text, &target.sin6_addr) != 1)
		return 2;
	for (style = 0; style < STYLE_COUNT && strcmp(style_names[style], argv[4]); style++)
		;
	if (style == STYLE_COUNT)
		return 2;
	count = atoi(argv[5]);
	client_count = count;
	threads = calloc(count, sizeof(*threads));
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	for (at = 0; at < count; at++) {
		struct stream *s = calloc(1, sizeof(*s));

		s->style = style;
		s->rounds = atoi(argv[6]);
		s->largest = atoi(argv[7]);
		s->random = (atoi(argv[8]) + 1) * 1000003ull + at * 7919ull;
		s->client = true;
		s->index = at;
		pthread_create(&threads[at], &attributes, dial_one, s);
	}
	for (at = 0; at < count; at++)
		pthread_join(threads[at], NULL);
	report();
	return failures != 0;
}
