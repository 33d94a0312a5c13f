// SPDX-License-Identifier: Apache-2.0
/*
 * Dials from inside a network namespace and reports the peer of each socket. No server is
 * needed: the answer is read from the socket, which knows its peer as soon as the SYN is sent.
 *
 * usage: dial-many NAMESPACE-PATH
 * input:  one "ADDRESS PORT COUNT" per line; output: one line for each, COUNT words "ip|port" or
 * "errno NUMBER".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* SO_PEERNAME works during the handshake, unlike getpeername. It requires the exact length. */
static void print_peer(int fd, socklen_t length)
{
	struct sockaddr_storage peer;
	char text[INET6_ADDRSTRLEN];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &peer, &length) != 0) {
		printf("errno|%d ", errno);
		return;
	}
	if (peer.ss_family == AF_INET) {
		struct sockaddr_in *address = (struct sockaddr_in *)&peer;

		inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
		printf("%s|%d ", text, ntohs(address->sin_port));
	} else {
		struct sockaddr_in6 *address = (struct sockaddr_in6 *)&peer;

		inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text));
		printf("%s|%d ", text, ntohs(address->sin6_port));
	}
}

static void dial(const char *ip, int port)
{
	struct sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in address4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	int six = strchr(ip, ':') != NULL;
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int result;

	if (six) {
		inet_pton(AF_INET6, ip, &address6.sin6_addr);
		result = connect(fd, (struct sockaddr *)&address6, sizeof(address6));
	} else {
		inet_pton(AF_INET, ip, &address4.sin_addr);
		result = connect(fd, (struct sockaddr *)&address4, sizeof(address4));
	}
	if (result != 0 && errno != EINPROGRESS)
		printf("errno|%d ", errno);
	else
		print_peer(fd, six ? sizeof(address6) : sizeof(address4));
	close(fd);
}

int main(int argc, char **argv)
{
	char line[128], ip[64];
	int port, count, namespace;

	namespace = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	if (namespace < 0 || setns(namespace, CLONE_NEWNET) != 0) {
		perror("dial-many: cannot enter the namespace");
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%63s %d %d", ip, &port, &count) != 3)
			return 2;
		while (count-- > 0)
			dial(ip, port);
		putchar('\n');
		fflush(stdout);
	}
	return 0;
}
