// SPDX-License-Identifier: Apache-2.0
/*
 * Represents the other machines of a latency measurement: an echo server, a client that sends
 * messages through a proxy at a steady rate, and Prometheus.
 *
 * Server and client run at real-time priority: other work on this machine delays the proxy, not the
 * measuring programs. Prometheus runs at idle priority and has the kernel discard received bytes:
 * it uses no CPU time of the proxy, as if it were on another machine.
 *
 * usage: paced-echo serve                       echoes its input; prints its port
 *        paced-echo drive ADDRESS PORT CONNECTIONS RATE
 *        paced-echo scrape PORT
 *        paced-echo idle PROCESSOR              keeps the CPU awake
 *
 * input of drive: milliseconds of a round; output: "START MICROSECONDS" of each message in a line,
 * the start in microseconds of CLOCK_MONOTONIC, and an empty line.
 *
 * input of scrape: milliseconds of a round, and from the start of one scrape to the next; output:
 * "START MICROSECONDS BYTES" of each scrape in a line, and an empty line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 512, MOST_CONNECTIONS = 256, MOST_EVENTS = 64 };

struct connection {
	int socket;
	size_t awaited; /* bytes of the answer that are still to come */
	int64_t started;
};

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void set_no_delay(int socket)
{
	int on = 1;

	setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void claim_priority(int policy)
{
	struct sched_param priority = {.sched_priority = policy == SCHED_FIFO};

	if (sched_setscheduler(0, policy, &priority) != 0)
		perror("paced-echo: measures with what else runs here");
}

static void answer(int socket)
{
	char bytes[16384];
	ssize_t count = recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (count > 0 && send(socket, bytes, count, MSG_NOSIGNAL) == count)
		return;
	if (count < 0 && errno == EAGAIN)
		return;
	close(socket);
}

static _Noreturn void serve(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), queue = epoll_create1(0);
	struct epoll_event events[MOST_EVENTS] = {{.events = EPOLLIN, .data.fd = listener}};

	if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 128) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) != 0)
		fail("paced-echo: cannot listen");
	epoll_ctl(queue, EPOLL_CTL_ADD, listener, &events[0]);
	printf("%u\n", ntohs(address.sin6_port));
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(queue, events, MOST_EVENTS, -1);

		for (int index = 0; index < count; index++) {
			struct epoll_event event = {.events = EPOLLIN};

			if (events[index].data.fd != listener) {
				answer(events[index].data.fd);
				continue;
			}
			event.data.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			if (event.data.fd < 0)
				continue;
			set_no_delay(event.data.fd);
			epoll_ctl(queue, EPOLL_CTL_ADD, event.data.fd, &event);
		}
	}
}

static int dial(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
	int connected;

	if (getaddrinfo(host, port, &hints, &address) != 0)
		fail("paced-echo: no such address");
	connected = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(connected, address->ai_addr, address->ai_addrlen) != 0)
		fail("paced-echo: cannot connect");
	freeaddrinfo(address);
	set_no_delay(connected);
	return connected;
}

static void receive(struct connection *connection)
{
	char bytes[MESSAGE_BYTES];
	ssize_t count = recv(connection->socket, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (count < 0 && errno == EAGAIN)
		return;
	if (count <= 0 || (size_t)count > connection->awaited)
		fail("paced-echo: a connection broke");
	connection->awaited -= count;
	if (connection->awaited == 0)
		printf("%lld %.1f\n", (long long)(connection->started / 1000),
		       (now_ns() - connection->started) / 1000.0);
}

/* Open loop: a message is sent at its tick, on an idle connection. */
static void drive_round(int queue, struct connection *connections, int count, double rate,
			int64_t milliseconds)
{
	int64_t begin = now_ns(), interval = 1000000000 / rate, sent = 0;
	int64_t total = milliseconds * 1000000 / interval, open;
	static const char message[MESSAGE_BYTES];

	do {
		struct epoll_event events[MOST_EVENTS];
		int64_t wait = sent < total ? begin + sent * interval - now_ns() : 1000000000;
		struct timespec timeout = {wait < 0 ? 0 : wait / 1000000000,
					   wait < 0 ? 0 : wait % 1000000000};
		int ready = epoll_pwait2(queue, events, MOST_EVENTS, &timeout, NULL);

		for (int index = 0; index < ready; index++)
			receive(events[index].data.ptr);
		for (; sent < total && begin + sent * interval <= now_ns(); sent++) {
			struct connection *next = &connections[sent % count];

			if (next->awaited)
				continue;
			next->started = now_ns();
			next->awaited = MESSAGE_BYTES;
			if (send(next->socket, message, MESSAGE_BYTES, MSG_NOSIGNAL) !=
			    MESSAGE_BYTES)
				fail("paced-echo: cannot send");
		}
		open = 0;
		for (int index = 0; index < count; index++)
			open += connections[index].awaited != 0;
	} while (sent < total || open > 0);
	printf("\n");
	fflush(stdout);
}

static int drive(const char *host, const char *port, int count, double rate)
{
	static struct connection connections[MOST_CONNECTIONS];
	static char buffer[1 << 20];
	int queue = epoll_create1(0);
	long long milliseconds;

	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	for (int index = 0; index < count; index++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[index]};

		connections[index].socket = dial(host, port);
		epoll_ctl(queue, EPOLL_CTL_ADD, connections[index].socket, &event);
	}
	while (scanf("%lld", &milliseconds) == 1)
		drive_round(queue, connections, count, rate, milliseconds);
	return 0;
}

/* Bytes of the answer. */
static size_t scrape_once(const char *port)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
				      "Accept: application/openmetrics-text\r\n"
				      "Accept-Encoding: gzip\r\nConnection: close\r\n\r\n";
	int connected = dial("127.0.0.1", port);
	ssize_t count;
	size_t bytes = 0;

	if (send(connected, request, sizeof(request) - 1, MSG_NOSIGNAL) != sizeof(request) - 1)
		fail("paced-echo: cannot scrape");
	/* With TCP this discards received bytes without copying them. */
	while ((count = recv(connected, NULL, 1 << 20, MSG_TRUNC)) > 0)
		bytes += count;
	if (count < 0)
		fail("paced-echo: a scrape broke");
	close(connected);
	return bytes;
}

static int scrape(const char *port)
{
	long long milliseconds, interval;

	while (scanf("%lld %lld", &milliseconds, &interval) == 2) {
		int64_t begin = now_ns(), end = begin + milliseconds * 1000000, next = begin;

		while (next < end) {
			struct timespec due = {next / 1000000000, next % 1000000000};
			int64_t started;
			size_t bytes;

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
			started = now_ns();
			bytes = scrape_once(port);
			printf("%lld %.1f %zu\n", (long long)(started / 1000),
			       (now_ns() - started) / 1000.0, bytes);
			next += interval * 1000000;
			if (next < now_ns())
				next = now_ns();
		}
		printf("\n");
		fflush(stdout);
	}
	return 0;
}

/* Waking an idle virtual CPU takes the host up to 0.7 ms. */
static _Noreturn void idle(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		fail("paced-echo: no such processor");
	for (;;)
		__asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	claim_priority(argc == 3 ? SCHED_IDLE : SCHED_FIFO);
	if (argc == 2 && strcmp(argv[1], "serve") == 0)
		serve();
	if (argc == 6 && strcmp(argv[1], "drive") == 0 && atoi(argv[4]) <= MOST_CONNECTIONS)
		return drive(argv[2], argv[3], atoi(argv[4]), atof(argv[5]));
	if (argc == 3 && strcmp(argv[1], "scrape") == 0)
		return scrape(argv[2]);
	if (argc == 3 && strcmp(argv[1], "idle") == 0)
		idle(atoi(argv[2]));
	fprintf(stderr,
		"usage: paced-echo serve | idle PROCESSOR | drive ADDRESS PORT CONNECTIONS RATE | "
		"scrape PORT\n");
	return 2;
}
