/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stock: a proxy that only handles redirected connections. Listens on 15001 and 15006, and answers
 * each connection with "PORT IP PORT": its listener, and the original destination by netfilter;
 * "PORT -" if netfilter has none. Prints "ready" when it listens.
 */
#include <arpa/inet.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IP6T_SO_ORIGINAL_DST 80

static const int ports[] = {15001, 15006};

static int listen_on(int port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 64) ? -1 : fd;
}

static void answer(int fd, int port)
{
	struct sockaddr_in6 six = {};
	struct sockaddr_in four = {};
	socklen_t size = sizeof(four), size6 = sizeof(six);
	char ip[INET6_ADDRSTRLEN];

	if (!getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &four, &size))
		dprintf(fd, "%d %s %d", port, inet_ntop(AF_INET, &four.sin_addr, ip, sizeof(ip)),
			ntohs(four.sin_port));
	else if (!getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, &six, &size6))
		dprintf(fd, "%d %s %d", port, inet_ntop(AF_INET6, &six.sin6_addr, ip, sizeof(ip)),
			ntohs(six.sin6_port));
	else
		dprintf(fd, "%d -", port);
	shutdown(fd, SHUT_WR);
	close(fd);
}

int main(void)
{
	struct pollfd listening[2];

	for (int at = 0; at < 2; at++) {
		listening[at] = (struct pollfd){.fd = listen_on(ports[at]), .events = POLLIN};
		if (listening[at].fd < 0)
			return perror("listen"), 1;
	}
	dprintf(1, "ready\n");
	while (poll(listening, 2, -1) > 0)
		for (int at = 0; at < 2; at++)
			if (listening[at].revents)
				answer(accept(listening[at].fd, NULL, NULL), ports[at]);
	return 0;
}
