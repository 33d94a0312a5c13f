// Asks one DNS server over UDP and measures: dns-load ADDRESS PORT SECONDS WINDOW RATE NAME...
// At most WINDOW queries are pending at a time; RATE is queries per second, 0 for as fast as
// answers arrive. Runs in the network namespace that it is started in. Prints one JSON object.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_SAMPLES (1 << 22)
#define MOST_NAMES 256

static uint64_t started[65536];
static uint32_t *samples;
static uint8_t queries[MOST_NAMES][512];
static int query_lengths[MOST_NAMES];

static uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

static int write_query(uint8_t *into, const char *name)
{
	static const uint8_t header[12] = {0, 0, 1, 0, 0, 1};
	uint8_t *at = into + sizeof(header);

	memcpy(into, header, sizeof(header));
	while (*name != '\0') {
		size_t length = strcspn(name, ".");
		*at++ = (uint8_t)length;
		memcpy(at, name, length);
		at += length;
		name += length + (name[length] == '.');
	}
	*at++ = 0;
	memcpy(at, "\0\1\0\1", 4);
	return (int)(at + 4 - into);
}

static int by_value(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return a < b ? -1 : a > b;
}

int main(int argc, char **argv)
{
	if (argc < 7)
		return 2;
	double seconds = atof(argv[3]);
	int window = atoi(argv[4]);
	double rate = atof(argv[5]);
	int names = argc - 6 < MOST_NAMES ? argc - 6 : MOST_NAMES;
	struct sockaddr_in server = {.sin_family = AF_INET,
				     .sin_port = htons((uint16_t)atoi(argv[2]))};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	samples = calloc(MOST_SAMPLES, sizeof(*samples));
	inet_pton(AF_INET, argv[1], &server.sin_addr);
	if (samples == NULL || connect(fd, (struct sockaddr *)&server, sizeof(server)) != 0)
		return 1;
	for (int i = 0; i < names; i++)
		query_lengths[i] = write_query(queries[i], argv[6 + i]);

	uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9), last = begin;
	uint64_t sent = 0, answered = 0, lost = 0, empty = 0;
	int open = 0;
	uint16_t id = 0;
	for (;;) {
		uint64_t now = now_ns();
		if (now >= end && (open == 0 || now >= end + 500000000ull))
			break;
		while (now < end && open < window &&
		       (rate == 0 || (double)(now - begin) * rate / 1e9 > (double)sent)) {
			uint8_t *query = queries[sent % (uint64_t)names];
			while (started[id] != 0)
				id++;
			query[0] = (uint8_t)(id >> 8);
			query[1] = (uint8_t)id;
			started[id++] = now_ns();
			sent++;
			open++;
			if (send(fd, query, (size_t)query_lengths[(sent - 1) % (uint64_t)names],
				 0) < 0)
				lost++;
		}
		struct pollfd waits = {.fd = fd, .events = POLLIN};
		struct timespec most = {0, rate == 0 ? 100000000 : 50000};
		if (ppoll(&waits, 1, &most, NULL) == 0 && rate == 0 && open > 0) {
			// Unanswered datagrams count as dropped and free their places in the
			// window.
			lost += (uint64_t)open;
			open = 0;
			memset(started, 0, sizeof(started));
		}
		uint8_t answer[4096];
		ssize_t length;
		while ((length = recv(fd, answer, sizeof(answer), MSG_DONTWAIT)) >= 12) {
			uint16_t which = (uint16_t)(answer[0] << 8 | answer[1]);
			if (started[which] == 0)
				continue;
			last = now_ns();
			if (answered < MOST_SAMPLES)
				samples[answered] = (uint32_t)((last - started[which]) / 100);
			if (answer[7] == 0 && answer[6] == 0)
				empty++;
			answered++;
			started[which] = 0;
			open--;
		}
	}
	uint64_t count = answered < MOST_SAMPLES ? answered : MOST_SAMPLES;
	qsort(samples, count, sizeof(*samples), by_value);
	double elapsed = (double)(last - begin) / 1e9;
	printf("{\"sent\":%llu,\"answered\":%llu,\"empty\":%llu,\"lost\":%llu,\"perSecond\":%.0f,"
	       "\"p50\":%.1f,\"p99\":%.1f}\n",
	       (unsigned long long)sent, (unsigned long long)answered, (unsigned long long)empty,
	       (unsigned long long)(lost + (uint64_t)open),
	       elapsed > 0 ? (double)answered / elapsed : 0, count ? samples[count / 2] / 10.0 : 0,
	       count ? samples[count * 99 / 100] / 10.0 : 0);
	return 0;
}
