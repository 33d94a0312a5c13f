// SPDX-License-Identifier: Apache-2.0
/*
 * Latency at a fixed rate, open loop: requests are due at their tick regardless of answers, and
 * are measured from it. A request without a free connection waits for one, and that time counts.
 *
 * usage: paced-http ADDRESS PORT CONNECTIONS RATE SECONDS
 * output: {"p50": …, "p99": …}, in microseconds. The exit code is 1 when a connection fails.
 *
 * An answer is complete with the last byte of the body that the benchmarks' server sends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 256, MOST_EVENTS = 64 };

static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
static const char body_end[] = "bytes\n";

static struct {
	int socket;
	int64_t due;
} connections[MOST_CONNECTIONS];

static int idle[MOST_CONNECTIONS];
static int idle_count;

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "paced-http: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_connection(const char *address, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	if (made < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1)
		fail("address");
	if (connect(made, (struct sockaddr *)&to, sizeof(to)) != 0)
		fail("connect");
	setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return made;
}

/* Returns whether an answer is complete. */
static int take_answer(int socket)
{
	char bytes[4096];
	ssize_t got = recv(socket, bytes, sizeof(bytes), 0);
	const size_t length = sizeof(body_end) - 1;

	if (got <= 0)
		fail("receive");
	return (size_t)got >= length && memcmp(bytes + got - length, body_end, length) == 0;
}

static int by_value(const void *left, const void *right)
{
	int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

	return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: paced-http ADDRESS PORT CONNECTIONS RATE SECONDS\n");
		return 2;
	}
	int count = atoi(argv[3]);
	int64_t interval = 1000000000 / atoll(argv[4]);
	int64_t total = atoll(argv[4]) * atoll(argv[5]);
	int64_t *latencies = calloc(total, sizeof(*latencies));
	int events = epoll_create1(EPOLL_CLOEXEC);

	/* The default timer slack would distort the measurement. */
	prctl(PR_SET_TIMERSLACK, 1);
	if (latencies == NULL || count < 1 || count > MOST_CONNECTIONS)
		fail("parameters");
	for (int at = 0; at < count; at++) {
		struct epoll_event wanted = {.events = EPOLLIN, .data.u32 = at};

		connections[at].socket = open_connection(argv[1], atoi(argv[2]));
		epoll_ctl(events, EPOLL_CTL_ADD, connections[at].socket, &wanted);
		idle[idle_count++] = at;
	}

	int64_t began = now_ns() + 50000000, sent = 0, answered = 0;

	while (answered < total) {
		int64_t due = began + sent * interval, now = now_ns();

		if (sent < total && now >= due && idle_count > 0) {
			int at = idle[--idle_count];

			connections[at].due = due;
			if (send(connections[at].socket, request, sizeof(request) - 1,
				 MSG_NOSIGNAL) != sizeof(request) - 1)
				fail("send");
			sent++;
			continue;
		}

		struct epoll_event ready[MOST_EVENTS];
		int64_t wait = sent < total && idle_count > 0 ? due - now : 5000000000;
		struct timespec limit = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
		int found = epoll_pwait2(events, ready, MOST_EVENTS, &limit, NULL);

		if (found == 0 && wait == 5000000000) {
			errno = ETIMEDOUT;
			fail("an answer");
		}
		for (int index = 0; index < found; index++) {
			int at = ready[index].data.u32;

			if (!take_answer(connections[at].socket))
				continue;
			latencies[answered++] = now_ns() - connections[at].due;
			idle[idle_count++] = at;
		}
	}
	qsort(latencies, total, sizeof(*latencies), by_value);
	printf("{\"p50\": %.1f, \"p99\": %.1f}\n", latencies[total / 2] / 1000.0,
	       latencies[total * 99 / 100] / 1000.0);
	return 0;
}
