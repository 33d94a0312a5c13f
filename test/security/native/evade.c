/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * evade STEP... [-- STEP...]...: runs each list of steps, an unusual sequence of calls on one
 * socket, in a separate process, all at once. Prints a line for each: its number and the received
 * bytes, if any.
 *
 *   kind=4|6|mptcp4|mptcp6  continues with a new socket of this family and protocol; default 4
 *   patience=MS      time limit of a connect and of an answer, 500 by default; the first step
 *   defer            the SYN is sent with the first data (TCP_FASTOPEN_CONNECT)
 *   mark=NUMBER      SO_MARK
 *   nonblock         connect and send do not wait
 *   bind=IP[:PORT]   the source address, own or foreign; an IPv6 address in brackets
 *   connect=IP:PORT  fastopen=IP:PORT (MSG_FASTOPEN)
 *   dissolve         connect to AF_UNSPEC
 *   end              reads until the other side ends or resets the connection
 *   again            continues with a new socket
 *   accept=PORT      continues with a socket that a listener accepted
 *   wait             prints "ready" and reads a line from the standard input
 *   send             read: bytes received within the time limit
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TCP_FASTOPEN_NO_COOKIE
#define TCP_FASTOPEN_NO_COOKIE 34
#endif

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int fd, patience = 500, family = AF_INET, protocol;

struct address {
	struct sockaddr_storage storage;
	socklen_t length;
};

static void set_patience(int milliseconds)
{
	struct timeval limit = {milliseconds / 1000, milliseconds % 1000 * 1000};

	patience = milliseconds;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static struct address address_of(const char *text)
{
	struct address address = {};
	struct sockaddr_in6 *six = (void *)&address.storage;
	struct sockaddr_in *four = (void *)&address.storage;
	const char *colon = strrchr(text, ':');
	char ip[64];

	if (*text == '[') {
		snprintf(ip, sizeof(ip), "%.*s", (int)(strchr(text, ']') - text - 1), text + 1);
		six->sin6_family = AF_INET6;
		inet_pton(AF_INET6, ip, &six->sin6_addr);
		six->sin6_port = strchr(text, ']')[1] ? htons(atoi(colon + 1)) : 0;
		address.length = sizeof(*six);
		return address;
	}
	snprintf(ip, sizeof(ip), "%.*s", colon ? (int)(colon - text) : (int)strlen(text), text);
	four->sin_family = AF_INET;
	inet_pton(AF_INET, ip, &four->sin_addr);
	four->sin_port = colon ? htons(atoi(colon + 1)) : 0;
	address.length = sizeof(*four);
	return address;
}

static void set_kind(const char *kind)
{
	family = kind[strlen(kind) - 1] == '6' ? AF_INET6 : AF_INET;
	protocol = strncmp(kind, "mptcp", 5) ? 0 : IPPROTO_MPTCP;
}

static int open_socket(void)
{
	int one = 1;

	if (fd)
		close(fd);
	fd = socket(family, SOCK_STREAM, protocol);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	set_patience(patience);
	return fd < 0;
}

static int read_to_end(void)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	char text[512];

	while (poll(&readable, 1, patience) == 1)
		if (recv(fd, text, sizeof(text), 0) <= 0)
			return 0;
	return -1;
}

static int step(char *name, char *value)
{
	struct sockaddr any = {.sa_family = AF_UNSPEC};
	int one = 1, number, listener;
	struct address address = {};
	socklen_t length;
	char line[64];

	if (!strcmp(name, "kind")) {
		set_kind(value);
		return open_socket();
	}
	if (value)
		address = address_of(value);
	if (!strcmp(name, "patience"))
		return set_patience(atoi(value)), 0;
	if (!strcmp(name, "defer"))
		return setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, &one, sizeof(one)) ||
		       setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	if (!strcmp(name, "mark")) {
		number = strtol(value, NULL, 0);
		return setsockopt(fd, SOL_SOCKET, SO_MARK, &number, sizeof(number));
	}
	if (!strcmp(name, "options"))
		return setsockopt(fd, SOL_IP, IP_OPTIONS, "\1\1\1", 4);
	if (!strcmp(name, "nonblock"))
		return fcntl(fd, F_SETFL, O_NONBLOCK);
	if (!strcmp(name, "bind")) {
		setsockopt(fd, SOL_IP, IP_TRANSPARENT, &one, sizeof(one));
		setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &one, sizeof(one));
		return bind(fd, (struct sockaddr *)&address.storage, address.length);
	}
	if (!strcmp(name, "connect"))
		return connect(fd, (struct sockaddr *)&address.storage, address.length);
	if (!strcmp(name, "fastopen")) {
		setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, &one, sizeof(one));
		return sendto(fd, "hello", 5, MSG_FASTOPEN | MSG_NOSIGNAL,
			      (struct sockaddr *)&address.storage, address.length) < 0;
	}
	if (!strcmp(name, "end"))
		return read_to_end();
	if (!strcmp(name, "again"))
		return open_socket();
	if (!strcmp(name, "dissolve"))
		return connect(fd, &any, sizeof(any));
	if (!strcmp(name, "accept")) {
		struct sockaddr_in6 own = {.sin6_family = family, .sin6_port = htons(atoi(value))};

		/* All addresses, in either family: the port is at the same place. */
		listener = fd;
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(listener, (struct sockaddr *)&own, sizeof(own)) || listen(listener, 8))
			return -1;
		fd = accept(listener, NULL, NULL);
		close(listener);
		length = sizeof(number);
		if (!getsockopt(fd, SOL_SOCKET, SO_MARK, &number, &length))
			fprintf(stderr, "mark %#x\n", number);
		return fd < 0;
	}
	if (!strcmp(name, "wait")) {
		fprintf(stderr, "ready\n");
		return !fgets(line, sizeof(line), stdin);
	}
	if (!strcmp(name, "send"))
		return send(fd, "hello", 5, MSG_NOSIGNAL) < 0;
	exit(2);
}

/* Returns the answer. A failed step does not end the list: the next one may still succeed. */
static void play(int number, char **steps, int count)
{
	struct pollfd readable;
	char text[512] = "";
	ssize_t length;

	open_socket();
	for (int at = 0; at < count; at++) {
		char *value = strchr(steps[at], '=');

		if (value)
			*value++ = 0;
		step(steps[at], value);
	}
	readable = (struct pollfd){.fd = fd, .events = POLLIN};
	if (poll(&readable, 1, patience) == 1 && (length = recv(fd, text, sizeof(text) - 1, 0)) > 0)
		text[length] = 0;
	for (char *at = text; *at; at++)
		if (*at < ' ')
			*at = ' ';
	dprintf(1, "%d:%s\n", number, text);
}

int main(int count, char **arguments)
{
	int number = 0, from = 1;

	for (int at = 1; at <= count; at++) {
		if (at < count && strcmp(arguments[at], "--"))
			continue;
		if (fork() == 0) {
			play(number, arguments + from, at - from);
			_exit(0);
		}
		number++;
		from = at + 1;
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
