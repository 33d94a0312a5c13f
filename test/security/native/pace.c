/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pace serve PORT: prints "ready"; then for each connection, one after another, the newest time
 * that was received before it ended. pace send IP PORT: prints "ready" once the first time was
 * answered, and sends the time (nanoseconds of CLOCK_MONOTONIC) continuously until it fails; then
 * prints the time of the failure.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int failed(const char *what)
{
	perror(what);
	return 1;
}

static void say(uint64_t time)
{
	printf("%llu\n", (unsigned long long)time);
	fflush(stdout);
}

/* The last complete time that is received. */
static uint64_t newest_of(int fd)
{
	uint64_t newest = 0, time;
	size_t have = 0;
	ssize_t got;

	while ((got = read(fd, (char *)&time + have, sizeof(time) - have)) > 0) {
		have += got;
		if (have < sizeof(time))
			continue;
		/* The first one is answered. */
		if (!newest && write(fd, "!", 1) != 1)
			break;
		newest = time;
		have = 0;
	}
	return newest;
}

static int serve(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd;

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1))
		return failed("listen");
	puts("ready");
	fflush(stdout);
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		say(newest_of(fd));
		close(fd);
	}
	return failed("accept");
}

static int send_times(const char *ip, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timespec pause = {.tv_nsec = 1000};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	uint64_t time;
	char answer;

	inet_pton(AF_INET, ip, &address.sin_addr);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return failed("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	time = now();
	if (write(fd, &time, sizeof(time)) != sizeof(time) || read(fd, &answer, 1) != 1)
		return failed("exchange");
	puts("ready");
	fflush(stdout);
	do {
		nanosleep(&pause, NULL);
		time = now();
	} while (write(fd, &time, sizeof(time)) == sizeof(time));
	say(now());
	return 0;
}

int main(int count, char **parameters)
{
	signal(SIGPIPE, SIG_IGN);
	if (count == 3 && !strcmp(parameters[1], "serve"))
		return serve(atoi(parameters[2]));
	if (count == 4 && !strcmp(parameters[1], "send"))
		return send_times(parameters[2], atoi(parameters[3]));
	return 2;
}
