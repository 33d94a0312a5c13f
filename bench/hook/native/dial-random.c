// SPDX-License-Identifier: Apache-2.0
/*
 * Drives the connect hook: dials service addresses of 10.0.0.0/8 from inside a network namespace
 * and closes each socket immediately. The namespace answers every address itself with a reset, so
 * no server is needed and nothing leaves it.
 *
 * It runs on one CPU at real-time priority, so that other work neither interrupts a measurement nor
 * uses its caches.
 *
 * usage: dial-random NAMESPACE-PATH
 * input: "SERVICES STEP CONNECTS": service i of SERVICES is 10.0.0.0 + 1 + i * STEP; output:
 * "SUCCEEDED FAILED".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t random_state = 88172645463325252ull;

static uint32_t random_below(uint32_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return ((random_state >> 32) * limit) >> 32;
}

static void claim_cpu(void)
{
	struct sched_param priority = {.sched_priority = 1};
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu) != 0 ||
	    sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
		perror("dial-random: measures with what else runs here");
}

int main(int argc, char **argv)
{
	unsigned int services, step, connects;
	int namespace;

	namespace = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	if (namespace < 0 || setns(namespace, CLONE_NEWNET) != 0) {
		perror("dial-random: cannot enter the namespace");
		return 1;
	}
	claim_cpu();
	while (scanf("%u %u %u", &services, &step, &connects) == 3) {
		unsigned int failed = 0;

		for (unsigned int index = 0; index < connects; index++) {
			struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(80)};
			int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

			address.sin_addr.s_addr = htonl(0x0a000001 + random_below(services) * step);
			if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 &&
			    errno != EINPROGRESS)
				failed++;
			close(fd);
		}
		printf("%u %u\n", connects - failed, failed);
		fflush(stdout);
	}
	return 0;
}
