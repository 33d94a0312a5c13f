/*
 * Model of the places of live flows (bpf/live.h, compiled unchanged) while other CPUs take and
 * return them.
 *
 *   places            runs a few orders that rarely occur by chance
 *   places ROUNDS     threads take and return places, with the machine's atomic operations
 *
 * Fails with a reason if a place has two owners at once or is lost.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs before a compare-and-swap: the concurrent action of another CPU. */
static __thread void (*meanwhile)(void);
/* Number of compare-and-swaps that fail. */
static __thread int lost_races;

static inline uint64_t compare_and_swap(uint64_t *at, uint64_t expected, uint64_t wanted)
{
	void (*other)(void) = meanwhile;

	if (other) {
		meanwhile = NULL;
		other();
	}
	if (lost_races > 0 && lost_races--)
		return expected + 1;
	__atomic_compare_exchange_n(at, &expected, wanted, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return expected;
}

#define __sync_val_compare_and_swap(at, expected, wanted)                                          \
	compare_and_swap((uint64_t *)(at), expected, wanted)

static unsigned long long bpf_get_socket_cookie(void *context)
{
	(void)context;
	return 1;
}

#include "../../../bpf/live.h"

#define THREADS 4
#define MOST_HELD 64

static struct kmesh_live_block blocks[KMESH_MAX_LIVE / KMESH_LIVE_BLOCK];
static struct kmesh_live_places places;
static int owners[KMESH_MAX_LIVE + 1];
static long rounds;

void *model_lookup(const void *map, const void *key)
{
	if (map == &live)
		return &blocks[*(const __u32 *)key];
	return map == &live_places ? &places : NULL;
}

static void expect(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static __u32 take(void)
{
	__u32 place = take_place();

	expect(place != 0, "no place is left");
	expect(__atomic_exchange_n(&owners[place], 1, __ATOMIC_SEQ_CST) == 0,
	       "a place has two owners");
	return place;
}

static void give(__u32 place)
{
	__atomic_store_n(&owners[place], 0, __ATOMIC_SEQ_CST);
	give_place(place, find_place(place));
}

static void reset(void)
{
	memset(blocks, 0, sizeof(blocks));
	memset(&places, 0, sizeof(places));
	memset(owners, 0, sizeof(owners));
}

/* The first free place is the same again, but its successor is not (ABA). */
static void take_two_and_give_the_first(void)
{
	__u32 first = take();

	take();
	give(first);
}

static void keep_apart_what_looks_unchanged(void)
{
	__u32 first, second;

	reset();
	first = take();
	second = take();
	give(second);
	give(first);
	meanwhile = take_two_and_give_the_first;
	take();
	expect(take() != second, "a place has two owners");
}

/* The reader's handling of a place that could not be returned. */
static void leave_to_the_reader(void)
{
	__u32 place;

	reset();
	place = take();
	owners[place] = 0;
	find_place(place)->socket = 0;
	lost_races = KMESH_LIVE_TRIES;
	give_place(place, find_place(place));
	expect(lost_races == 0 && find_place(place)->socket == KMESH_LIVE_LEFT,
	       "a place is not left to the reader");
	expect(take() != place, "a place that is left to the reader is taken");
	leave_place(find_place(place), place, KMESH_LIVE_LEFT);
	leave_place(find_place(place), place, KMESH_LIVE_LEFT);
	expect(take() == place, "the reader does not give a place back");
	expect(take() != place, "the reader gives a place back twice");
}

static void run_out(void)
{
	reset();
	places.used = KMESH_MAX_LIVE - 1;
	expect(take_place() == KMESH_MAX_LIVE, "the last place is not taken");
	expect(take_place() == 0 && take_place() == 0, "there is a place beyond the last");
	expect(places.used == KMESH_MAX_LIVE, "places are counted that are not there");
}

static void *take_and_give(void *seed)
{
	uint64_t random = (uintptr_t)seed * 0x9e3779b97f4a7c15u + 1;
	__u32 held[MOST_HELD];
	size_t count = 0;

	for (long round = 0; round < rounds; round++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		if (count < MOST_HELD && (count == 0 || random >> 63))
			held[count++] = take();
		else
			give(held[--count]);
	}
	while (count > 0)
		give(held[--count]);
	return NULL;
}

/* Every used place is free once, or left to the reader. */
static void count_places(void)
{
	__u32 free = 0, left = 0;

	for (__u32 place = places.free; place; place = find_place(place)->next) {
		expect(__atomic_exchange_n(&owners[place], 1, __ATOMIC_SEQ_CST) == 0,
		       "a place is free twice");
		free++;
	}
	for (__u32 place = 1; place <= places.used; place++)
		left += find_place(place)->socket == KMESH_LIVE_LEFT;
	expect(free + left == places.used, "a place is lost");
	printf("{\"used\":%u,\"left\":%u}\n", places.used, left);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc == 1) {
		keep_apart_what_looks_unchanged();
		leave_to_the_reader();
		run_out();
		return 0;
	}
	rounds = atol(argv[1]);
	for (uintptr_t at = 0; at < THREADS; at++)
		pthread_create(&threads[at], NULL, take_and_give, (void *)at);
	for (int at = 0; at < THREADS; at++)
		pthread_join(threads[at], NULL);
	count_places();
	return 0;
}
