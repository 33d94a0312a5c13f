// SPDX-License-Identifier: Apache-2.0
/*
 * One bulk transfer inside a network namespace: a server on every address at LISTEN-PORT that reads
 * and discards, and a client that dials ADDRESS PORT and sends BYTES.
 *
 * usage: bulk NAMESPACE-PATH LISTEN-PORT ADDRESS PORT BYTES
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char block[1 << 20];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	unsigned long long left;
	int listener, fd, namespace;
	ssize_t length;
	pid_t child;

	if (argc != 6)
		return 2;
	namespace = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (namespace < 0 || setns(namespace, CLONE_NEWNET) != 0)
		fail("setns");
	listener = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_port = htons(atoi(argv[2]));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(listener, 1) != 0)
		fail("listen");
	child = fork();
	if (child == 0) {
		fd = accept(listener, NULL, NULL);
		/* MSG_TRUNC: TCP drops the bytes without copying them. */
		while ((length = recv(fd, block, sizeof(block), MSG_TRUNC)) > 0)
			;
		_exit(length == 0 ? 0 : 1);
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	inet_pton(AF_INET, argv[3], &address.sin_addr);
	address.sin_port = htons(atoi(argv[4]));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail("connect");
	for (left = strtoull(argv[5], NULL, 10); left > 0; left -= length) {
		length = send(fd, block, left < sizeof(block) ? left : sizeof(block), 0);
		if (length <= 0)
			fail("send");
	}
	shutdown(fd, SHUT_WR);
	recv(fd, block, 1, 0);
	close(fd);
	waitpid(child, &listener, 0);
	return listener != 0;
}
