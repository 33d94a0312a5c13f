/*
 * Model of all interleavings of the judgement of packets (bpf/judge.h, compiled unchanged) and the
 * daemon's changes of its tables, or random ones of a longer history.
 *
 *   interleavings exhaustive|random [ROUNDS [SEED]]
 *
 * Actors are coroutines that yield before each access to a table. An actor that judges packets
 * judges them one after another, as on a connection. The daemon changes its tables in the order
 * that judge.h requires, with grace periods in between: one ends when each judgement that was
 * running at its beginning has ended.
 *
 * Invariant: no packet whose judgement begins after a change is complete passes by an earlier
 * permission. A deliberately faulty daemon shows that the model detects violations.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "../../../bpf/judge.h"

#define ACTORS 3
#define STACK (64 * 1024)
#define MOST_CHOICES 512
#define ELEMENTS 16

/* --- Tables: a found element stays readable after its removal, as under RCU. --- */

struct element {
	bool present;
	char key[48];
	char value[64];
};

struct table {
	const void *map;
	size_t key_size, value_size;
	/* Memory is reused at once for the next key, as in an LRU table. */
	bool reused;
	struct element elements[ELEMENTS * 64];
	size_t used;
};

static struct table tables[] = {
    {.map = &verdicts, .key_size = sizeof(struct kmesh_verdict_key), .value_size = sizeof(__u32)},
    {.map = &pod_addresses, .key_size = 16, .value_size = sizeof(struct kmesh_owner)},
    {.map = &connections,
     .key_size = sizeof(struct kmesh_connection_key),
     .value_size = sizeof(struct kmesh_connection),
     .reused = true},
};

static struct table *table_of(const void *map)
{
	for (size_t at = 0; at < sizeof(tables) / sizeof(*tables); at++)
		if (tables[at].map == map)
			return &tables[at];
	abort();
}

static struct element *element_of(struct table *table, const void *key)
{
	for (size_t at = 0; at < table->used; at++)
		if (table->elements[at].present &&
		    memcmp(table->elements[at].key, key, table->key_size) == 0)
			return &table->elements[at];
	return NULL;
}

static void put(struct table *table, const void *key, const void *value)
{
	struct element *old = element_of(table, key), *fresh = NULL;

	if (table->reused)
		for (size_t at = 0; at < table->used && !fresh; at++)
			if (!table->elements[at].present)
				fresh = &table->elements[at];
	if (!fresh) {
		if (table->used == sizeof(table->elements) / sizeof(*table->elements))
			abort();
		fresh = &table->elements[table->used++];
	}
	memcpy(fresh->key, key, table->key_size);
	memcpy(fresh->value, value, table->value_size);
	fresh->present = true;
	if (old)
		old->present = false;
}

static void drop(struct table *table, const void *key)
{
	struct element *element = element_of(table, key);

	if (element)
		element->present = false;
}

/* --- Coroutines and the scheduler. --- */

struct actor {
	ucontext_t context;
	void (*body)(void);
	bool ended, waits;
	/* Counts the judgements of this actor; odd while one is running. */
	unsigned judgements, awaited[ACTORS];
};

static struct actor actors[ACTORS];
static char stacks[ACTORS][STACK];
static ucontext_t scheduler;
static int running;

static bool is_random;
static unsigned choices[MOST_CHOICES], widths[MOST_CHOICES], depth, planned;

static void yield_turn(void)
{
	swapcontext(&actors[running].context, &scheduler);
}

void *model_lookup(const void *map, const void *key)
{
	yield_turn();
	struct table *table = table_of(map);
	struct element *found = element_of(table, key);
	/* A found element may be reused for another key before it is read. */
	if (found && table->reused && is_random)
		yield_turn();
	return found ? found->value : NULL;
}

long model_update(const void *map, const void *key, const void *value, unsigned long long flags)
{
	(void)flags;
	yield_turn();
	put(table_of(map), key, value);
	return 0;
}

long model_delete(const void *map, const void *key)
{
	yield_turn();
	drop(table_of(map), key);
	return 0;
}

static bool is_over(const struct actor *daemon)
{
	for (int at = 0; at < ACTORS; at++)
		if (daemon->awaited[at] % 2 == 1 && actors[at].judgements == daemon->awaited[at])
			return false;
	return true;
}

static void grace_period(void)
{
	struct actor *self = &actors[running];

	yield_turn();
	for (int at = 0; at < ACTORS; at++)
		self->awaited[at] = actors[at].judgements;
	self->waits = true;
	while (!is_over(self))
		yield_turn();
	self->waits = false;
}

static void start(void)
{
	actors[running].body();
	actors[running].ended = true;
	swapcontext(&actors[running].context, &scheduler);
}

static int pick(const int *able, int count)
{
	unsigned choice;

	if (count == 1)
		return able[0];
	if (is_random)
		return able[random() % count];
	if (depth == MOST_CHOICES)
		abort();
	choice = depth < planned ? choices[depth] : 0;
	choices[depth] = choice;
	widths[depth++] = count;
	return able[choice];
}

static void run_all(void)
{
	for (;;) {
		int able[ACTORS], count = 0;

		for (int at = 0; at < ACTORS; at++)
			if (actors[at].body && !actors[at].ended &&
			    !(actors[at].waits && !is_over(&actors[at])))
				able[count++] = at;
		if (count == 0)
			return;
		running = pick(able, count);
		swapcontext(&scheduler, &actors[running].context);
	}
}

/* --- The history. --- */

enum { CLIENT = 1, SERVER = 2, OTHER = 3 };
#define PORT htons(8080)
#define OTHER_PORT htons(9090)
#define CLIENT_PORT htons(40000)
#define IDENTITY 7

static struct kmesh_lease the_lease;
static bool is_expired;
/* Completed changes: no packet that they forbid may pass from then on. */
static bool is_forbidden;
static unsigned allowances;
static bool careless;
static unsigned long leaks, passed, rounds_with_passage;

static union kmesh_address address_of(int host)
{
	union kmesh_address address = {};

	address.words[2] = htonl(0xffff);
	address.words[3] = htonl(0x0a010000 + host);
	return address;
}

static struct kmesh_owner owner_of(int host)
{
	struct kmesh_owner owner = {.netns_cookie = host,
				    .workload = host,
				    .identity = IDENTITY + host,
				    .interface = host,
				    .flags = KMESH_OWNER_DELIVERED};
	return owner;
}

static void set_owner(int at, struct kmesh_owner owner)
{
	union kmesh_address address = address_of(at);

	put(table_of(&pod_addresses), &address, &owner);
}

static struct kmesh_verdict_key verdict_key(void)
{
	struct kmesh_verdict_key key = {
	    .workload = SERVER, .identity = IDENTITY + CLIENT, .port_be = PORT};
	return key;
}

/* All clients if no policy applies: then only the certainty of both identities matters. */
static bool is_open;

static void allow(void)
{
	struct kmesh_verdict_key key = verdict_key();
	__u32 value = KMESH_VERDICT_ALLOW;

	if (is_open)
		key = (struct kmesh_verdict_key){.workload = SERVER};
	put(table_of(&verdicts), &key, &value);
}

/* One packet: `judge` returns whether it passes. */
static bool judged(bool (*judge)(void))
{
	struct actor *self = &actors[running];
	unsigned allowed_before;
	bool forbidden, result;

	yield_turn();
	allowed_before = allowances;
	forbidden = is_forbidden;
	self->judgements++;
	result = judge();
	self->judgements++;
	if (result && forbidden && allowances == allowed_before)
		leaks++;
	if (result)
		passed++;
	return result;
}

static union kmesh_address client, server;

static struct segment by_client(void)
{
	struct segment segment = {&client, &server, CLIENT_PORT, PORT, CLIENT};
	return segment;
}

static bool leaves(void)
{
	struct segment segment = by_client();
	enum opening opening = open_connection(&the_lease, is_expired, &segment, 1234);

	return opening == OPENING_ALLOWED || opening == OPENING_REPEATED;
}

static bool arrives(void)
{
	struct segment segment = by_client();
	return !is_expired && admit_opening(&the_lease, &segment, 1234) == PASSAGE_ALLOWED;
}

static bool goes_on(void)
{
	struct segment segment = by_client();
	struct delivery delivery = {};
	deliver(&the_lease, is_expired, &segment, &delivery);
	return delivery.passage == PASSAGE_ALLOWED;
}

static bool answers(void)
{
	struct segment segment = {&server, &client, PORT, CLIENT_PORT, SERVER};
	struct delivery delivery = {};
	deliver(&the_lease, is_expired, &segment, &delivery);
	return delivery.passage == PASSAGE_ALLOWED;
}

/* By another route than the wire, or from another pod's interface. */
static bool is_spoofed(void)
{
	struct segment segment = by_client();
	struct delivery delivery = {};

	segment.interface = OTHER;
	deliver(&the_lease, is_expired, &segment, &delivery);
	return delivery.passage == PASSAGE_ALLOWED ||
	       admit_segment(&the_lease, is_expired, &segment, false) == PASSAGE_ALLOWED;
}

static unsigned segments = 1;

static void connection(void)
{
	/*
	 * A packet that may leave is not admitted by that: it is judged again at its destination.
	 */
	if (!judged(leaves) || !judged(arrives))
		return;
	for (unsigned at = 0; at < segments; at++)
		judged(at % 2 == 0 ? goes_on : answers);
}

static void live_story(void)
{
	for (unsigned at = 0; at < segments + 1; at++)
		judged(at % 2 == 0 ? answers : goes_on);
}

static struct kmesh_connection connection_of(const struct segment *segment, __u32 generation,
					     struct kmesh_connection_key *key)
{
	struct kmesh_connection there = {.sequence = 1234,
					 .client_interface = CLIENT,
					 .server_interface = SERVER,
					 .client_identity = IDENTITY + CLIENT,
					 .delivered = true};

	there.client_is_high = !make_key(segment, key);
	there.stamp.tuple = hash_tuple(key);
	there.stamp.generation = generation;
	return there;
}

static void spoofer(void)
{
	if (judged(is_spoofed))
		leaks++;
	/*
	 * The table is full: the connection's entry is evicted, and another connection of the same
	 * pods, to a port that no policy denies, gets its memory.
	 */
	struct segment segment = by_client();
	struct kmesh_connection_key key;
	struct kmesh_connection other;
	make_key(&segment, &key);
	if (is_random && random() % 2)
		model_delete(&connections, &key);
	segment.destination_port_be = OTHER_PORT;
	other = connection_of(&segment, the_lease.generation, &key);
	model_update(&connections, &key, &other, 0);
}

static void make_known(void)
{
	yield_turn();
	if (!careless)
		the_lease.generation++;
	grace_period();
	yield_turn();
	is_forbidden = true;
}

static void policy_changes(void)
{
	struct kmesh_verdict_key key = verdict_key();

	yield_turn();
	drop(table_of(&verdicts), &key);
	make_known();
}

static void certificate_is_revoked(void)
{
	struct kmesh_owner owner = owner_of(CLIENT);

	yield_turn();
	owner.identity = 0;
	set_owner(CLIENT, owner);
	make_known();
}

static void server_is_deleted(void)
{
	union kmesh_address address = address_of(SERVER);

	yield_turn();
	drop(table_of(&pod_addresses), &address);
	make_known();
}

/* The client's address becomes that of another pod, which is also allowed to call the server. */
static void address_is_reused(void)
{
	union kmesh_address address = address_of(CLIENT);
	struct kmesh_owner owner = owner_of(OTHER);
	struct kmesh_verdict_key key = {
	    .workload = SERVER, .identity = IDENTITY + OTHER, .port_be = PORT};
	__u32 value = KMESH_VERDICT_ALLOW;

	yield_turn();
	drop(table_of(&pod_addresses), &address);
	make_known();
	yield_turn();
	put(table_of(&verdicts), &key, &value);
	yield_turn();
	set_owner(CLIENT, owner);
}

/* No daemon changes the tables: its lease expires. */
static void daemon_dies(void)
{
	yield_turn();
	is_expired = true;
	grace_period();
	is_forbidden = true;
}

/* Denied, allowed, and denied again. */
static void policy_changes_often(void)
{
	for (int round = 0; round < 3; round++) {
		policy_changes();
		if (round == 2)
			return;
		yield_turn();
		is_forbidden = false;
		allowances++;
		allow();
		if (random() % 2)
			yield_turn();
	}
}

static void (*const changes[])(void) = {policy_changes, certificate_is_revoked, server_is_deleted,
					address_is_reused, daemon_dies};
static const char *const names[] = {"policy", "certificate", "deletion", "reuse", "lease"};

static void begin(void (*change)(void), bool is_live, void (*third)(void))
{
	for (size_t at = 0; at < sizeof(tables) / sizeof(*tables); at++)
		tables[at].used = 0;
	memset(actors, 0, sizeof(actors));
	the_lease.generation = 1;
	is_expired = is_forbidden = false;
	is_open = change == certificate_is_revoked;
	client = address_of(CLIENT);
	server = address_of(SERVER);
	set_owner(CLIENT, owner_of(CLIENT));
	set_owner(SERVER, owner_of(SERVER));
	allow();
	if (is_live) {
		struct segment segment = by_client();
		struct kmesh_connection_key key;
		struct kmesh_connection there = connection_of(&segment, 1, &key);

		put(table_of(&connections), &key, &there);
	}
	actors[0].body = is_live ? live_story : connection;
	actors[1].body = change;
	actors[2].body = third;
	for (int at = 0; at < ACTORS; at++) {
		getcontext(&actors[at].context);
		actors[at].context.uc_stack.ss_sp = stacks[at];
		actors[at].context.uc_stack.ss_size = STACK;
		makecontext(&actors[at].context, start, 0);
	}
}

static unsigned long explore(void (*change)(void), bool is_live, void (*third)(void))
{
	unsigned long runs = 0;

	planned = 0;
	for (;;) {
		unsigned long before = passed;

		depth = 0;
		begin(change, is_live, third);
		run_all();
		runs++;
		rounds_with_passage += passed > before;
		/* The next schedule: advances the last choice that has an alternative left. */
		while (depth > 0 && choices[depth - 1] + 1 == widths[depth - 1])
			depth--;
		if (depth == 0)
			return runs;
		choices[depth - 1]++;
		planned = depth;
	}
}

int main(int count, char **arguments)
{
	const unsigned long rounds = count > 2 ? strtoul(arguments[2], NULL, 10) : 100000;
	const char *mode = count > 1 ? arguments[1] : "exhaustive";

	careless = getenv("CARELESS") != NULL;
	if (strcmp(mode, "random") == 0) {
		is_random = true;
		srandom(count > 3 ? strtoul(arguments[3], NULL, 10) : 1);
		segments = 6;
		for (unsigned long round = 0; round < rounds; round++) {
			unsigned long before = passed;
			size_t which = random() % 6;

			begin(which == 5 ? policy_changes_often : changes[which], random() % 2,
			      random() % 2 ? spoofer : NULL);
			run_all();
			rounds_with_passage += passed > before;
		}
		printf("{\"orders\":%lu,\"with_passage\":%lu,\"leaks\":%lu}\n", rounds,
		       rounds_with_passage, leaks);
		return 0;
	}
	for (size_t at = 0; at < sizeof(changes) / sizeof(*changes); at++) {
		for (int is_live = 0; is_live < 2; is_live++) {
			unsigned long runs;

			leaks = rounds_with_passage = 0;
			runs = explore(changes[at], is_live, NULL);
			printf("{\"change\":\"%s\",\"live\":%d,\"orders\":%lu,\"with_passage\":%lu,"
			       "\"leaks\":%lu}\n",
			       names[at], is_live, runs, rounds_with_passage, leaks);
		}
	}
	return 0;
}
