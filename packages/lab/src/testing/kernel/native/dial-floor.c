// SPDX-License-Identifier: Apache-2.0
/*
 * Many threads that dial one address at full speed while its endpoints change. Endpoint n of the
 * service is 10.0.0.0 + n, and the numbers only grow. FLOOR-FILE holds, as a 32-bit word that the
 * test writes, the lowest endpoint that a dial started from now on may reach.
 *
 * usage: dial-floor NAMESPACE-PATH FLOOR-FILE ADDRESS PORT THREADS; runs until standard input ends.
 * output: "DIALS FAILED BELOW-FLOOR".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static _Atomic uint32_t *floor_word;
static atomic_ulong dials, failed, below_floor;
static struct sockaddr_in target = {.sin_family = AF_INET};
static atomic_bool stopped;
static int namespace;

static void dial(void)
{
	uint32_t lowest = atomic_load(floor_word);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);

	atomic_fetch_add(&dials, 1);
	if (connect(fd, (struct sockaddr *)&target, sizeof(target)) != 0 && errno != EINPROGRESS)
		atomic_fetch_add(&failed, 1);
	else if (getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &peer, &length) != 0)
		atomic_fetch_add(&failed, 1);
	else if (peer.sin_addr.s_addr == target.sin_addr.s_addr)
		atomic_fetch_add(&failed, 1);
	else if (ntohl(peer.sin_addr.s_addr) - 0x0a000000 < lowest)
		atomic_fetch_add(&below_floor, 1);
	close(fd);
}

static void *run(void *unused)
{
	if (setns(namespace, CLONE_NEWNET) != 0)
		abort();
	while (!atomic_load(&stopped))
		dial();
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	int count, index;

	if (argc != 6)
		return 2;
	namespace = open(argv[1], O_RDONLY | O_CLOEXEC);
	floor_word =
	    mmap(NULL, 4096, PROT_READ, MAP_SHARED, open(argv[2], O_RDONLY | O_CLOEXEC), 0);
	if (namespace < 0 || floor_word == MAP_FAILED)
		return 1;
	inet_pton(AF_INET, argv[3], &target.sin_addr);
	target.sin_port = htons(atoi(argv[4]));
	count = atoi(argv[5]) > 64 ? 64 : atoi(argv[5]);
	for (index = 0; index < count; index++)
		pthread_create(&threads[index], NULL, run, NULL);
	while (getchar() != EOF)
		;
	atomic_store(&stopped, true);
	for (index = 0; index < count; index++)
		pthread_join(threads[index], NULL);
	printf("%lu %lu %lu\n", atomic_load(&dials), atomic_load(&failed),
	       atomic_load(&below_floor));
	return 0;
}
