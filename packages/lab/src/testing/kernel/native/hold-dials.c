// SPDX-License-Identifier: Apache-2.0
/*
 * Connects that fail between the connect hook and their SYN, on sockets that stay open: all use
 * the source port of an existing connection to the same destination.
 *
 * usage: hold-dials ADDRESS PORT COUNT NEXT-PORT
 * output: the number of these failures. After a line of input the last socket connects to
 * NEXT-PORT of ADDRESS, and its errno is printed, 0 if its handshake has begun. Ends with the
 * input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int open_socket(unsigned short port, int flags)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = port};
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0), one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&own, sizeof(own)) != 0)
		fail("socket");
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET}, own;
	socklen_t length = sizeof(own);
	int fd = open_socket(0, 0), failed = 0;
	char line[8];

	if (argc != 5 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
		return 2;
	address.sin_port = htons(atoi(argv[2]));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("connect");
	getsockname(fd, (struct sockaddr *)&own, &length);
	for (int count = atoi(argv[3]); count > 0; count--) {
		fd = open_socket(own.sin_port, SOCK_NONBLOCK);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
		    errno == EADDRNOTAVAIL)
			failed++;
	}
	printf("%d\n", failed);
	fflush(stdout);
	address.sin_port = htons(atoi(argv[4]));
	while (fgets(line, sizeof(line), stdin)) {
		errno = 0;
		connect(fd, (struct sockaddr *)&address, sizeof(address));
		printf("%d\n", errno == EINPROGRESS ? 0 : errno);
		fflush(stdout);
	}
	return 0;
}
