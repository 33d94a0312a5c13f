/*
 * Model of the time for which a port counts as unreachable (bpf/unreachable.h, compiled unchanged),
 * with a simulated clock. Reads lines `SECOND ask|note`, and answers each with the duration of a
 * span that begins, or whether the port is unreachable then.
 */
#include <stdio.h>
#include <string.h>

static unsigned long long now_ns;

static unsigned long long bpf_ktime_get_coarse_ns(void)
{
	return now_ns;
}

#include "../../../bpf/unreachable.h"

#define WORKLOAD 7
#define PORT_BE 0x901f

static struct kmesh_unreachable table[KMESH_UNREACHABLE_PLACES];

void *model_lookup(const void *map, const void *key)
{
	__u32 index = *(const __u32 *)key;

	return map == &unreachable && index < KMESH_UNREACHABLE_PLACES ? &table[index] : NULL;
}

int main(void)
{
	unsigned long long second;
	char what[8];

	while (scanf("%llu %7s", &second, what) == 2) {
		now_ns = second << SECOND_BITS;
		if (strcmp(what, "note") == 0)
			printf("%u\n", note_unreachable(WORKLOAD, PORT_BE));
		else
			printf("%u\n", is_unreachable(WORKLOAD, PORT_BE));
	}
	return 0;
}
