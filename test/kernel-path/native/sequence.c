/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sequence tcp|mptcp PORT IP:PORT...: dials the addresses one after another from one port (0:
 * chosen by the kernel), and keeps the connections. Prints for each the peer by getpeername and the
 * number of received bytes, or the error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static int fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return -1;
}

static int dial(int protocol, int port, char *text)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in peer = {.sin_family = AF_INET};
	struct timeval limit = {.tv_sec = 5};
	socklen_t length = sizeof(peer);
	char *colon = strrchr(text, ':'), ip[INET_ADDRSTRLEN], bytes[64];
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, protocol);
	ssize_t count = 0, more;

	if (fd < 0)
		return fail("socket");
	*colon = 0;
	peer.sin_port = htons(atoi(colon + 1));
	if (inet_pton(AF_INET, text, &peer.sin_addr) != 1)
		return fail("address");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (port && bind(fd, (struct sockaddr *)&own, sizeof(own)))
		return fail("bind");
	if (connect(fd, (struct sockaddr *)&peer, sizeof(peer)))
		return fail("connect");
	memset(&peer, 0, sizeof(peer));
	if (getpeername(fd, (struct sockaddr *)&peer, &length))
		return fail("getpeername");
	if (write(fd, "hello", 5) != 5)
		return fail("write");
	while (count < 10) {
		more = read(fd, bytes, sizeof(bytes));
		if (more <= 0)
			return fail("read");
		count += more;
	}
	inet_ntop(AF_INET, &peer.sin_addr, ip, sizeof(ip));
	printf("%s:%d %zd\n", ip, ntohs(peer.sin_port), count);
	return 0;
}

int main(int count, char **arguments)
{
	int protocol = strcmp(arguments[1], "mptcp") == 0 ? IPPROTO_MPTCP : IPPROTO_TCP;

	for (int at = 3; at < count; at++)
		dial(protocol, atoi(arguments[2]), arguments[at]);
	return 0;
}
