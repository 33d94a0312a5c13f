/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Urgent data, half-closes, and reads of a receive queue without consuming it:
 *
 *   urgent serve PORT     accepts connections one after another, and sends each its observations
 *   urgent dial IP PORT   has one conversation for each way to read, and prints the observations
 *
 * The client waits for an answer between two steps, so that the server's observations depend only
 * on the connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <unistd.h>

static char story[4096];

static void tell(const char *what, long value, const char *bytes, ssize_t length)
{
	size_t used = strlen(story);

	snprintf(story + used, sizeof(story) - used, " %s=%ld", what, value);
	used = strlen(story);
	if (length > 0)
		snprintf(story + used, sizeof(story) - used, ":%.*s", (int)length, bytes);
}

static void take(int fd, const char *what, size_t size, int flags)
{
	char bytes[64];
	ssize_t got = recv(fd, bytes, size, flags);

	tell(what, got, bytes, got);
}

static void ask(int fd, const char *what, unsigned long request)
{
	int value = -1;

	ioctl(fd, request, &value);
	tell(what, value, NULL, 0);
}

/* Waits until the queue has this many bytes, or an urgent one. */
static void await(int fd, int wanted, short events)
{
	struct pollfd seen = {.fd = fd, .events = events};
	int waiting = 0;

	for (int tries = 0; tries < 5000; tries++) {
		ioctl(fd, FIONREAD, &waiting);
		if (waiting >= wanted && poll(&seen, 1, 0) == 1 &&
		    (seen.revents & events) == events)
			return;
		usleep(1000);
	}
	tell("timeout", waiting, NULL, 0);
}

static void serve_one(int fd)
{
	int one = 1;
	char way;

	story[0] = 0;
	if (recv(fd, &way, 1, 0) != 1)
		return;
	if (way == 'i')
		setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	if (way == 'n')
		fcntl(fd, F_SETFL, O_NONBLOCK);
	send(fd, "?", 1, 0);
	/* "ab", an urgent 'c', "de": the first read ends before the mark. */
	await(fd, way == 'i' ? 5 : 2, POLLIN | POLLPRI);
	ask(fd, "inq", SIOCINQ);
	take(fd, "peek", 60, MSG_PEEK);
	ask(fd, "at", SIOCATMARK);
	take(fd, "read", 60, 0);
	ask(fd, "at", SIOCATMARK);
	take(fd, "urgent", 1, MSG_OOB);
	take(fd, "again", 1, MSG_OOB);
	/* At the mark SIOCINQ returns 0. */
	await(fd, 0, POLLIN);
	take(fd, "read", 60, 0);
	if (way == 'n')
		take(fd, "empty", 60, 0);
	/* The client half-closes, and still receives the observations. */
	send(fd, "?", 1, 0);
	await(fd, 0, POLLIN | POLLRDHUP);
	take(fd, "end", 60, 0);
	send(fd, story, strlen(story), 0);
	shutdown(fd, SHUT_WR);
}

static struct sockaddr_in6 address_of(const char *ip, const char *port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
	char mapped[64];

	snprintf(mapped, sizeof(mapped), strchr(ip, ':') ? "%s" : "::ffff:%s", ip);
	inet_pton(AF_INET6, mapped, &address.sin6_addr);
	return address;
}

static int serve(const char *port)
{
	struct sockaddr_in6 address = address_of("::", port);
	int listener = socket(AF_INET6, SOCK_STREAM, 0), one = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (void *)&address, sizeof(address)) || listen(listener, 8))
		return 2;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			return 2;
		serve_one(fd);
		close(fd);
	}
}

static int dial(const char *ip, const char *port)
{
	struct sockaddr_in6 address = address_of(ip, port);

	for (const char *way = "pin"; *way; way++) {
		int fd = socket(AF_INET6, SOCK_STREAM, 0), one = 1;
		char answer[4096];
		ssize_t got;

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (connect(fd, (void *)&address, sizeof(address)))
			return 2;
		send(fd, way, 1, 0);
		recv(fd, answer, 1, MSG_WAITALL);
		send(fd, "ab", 2, 0);
		send(fd, "c", 1, MSG_OOB);
		send(fd, "de", 2, 0);
		recv(fd, answer, 1, MSG_WAITALL);
		shutdown(fd, SHUT_WR);
		got = recv(fd, answer, sizeof(answer), MSG_WAITALL);
		printf("%c:%.*s\n", *way, got > 0 ? (int)got : 0, answer);
		close(fd);
	}
	return 0;
}

int main(int count, char **arguments)
{
	if (count == 3 && !strcmp(arguments[1], "serve"))
		return serve(arguments[2]);
	return count == 4 ? dial(arguments[2], arguments[3]) : 2;
}
