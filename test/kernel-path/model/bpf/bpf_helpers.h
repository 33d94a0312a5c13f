/*
 * User-space replacement of the parts of libbpf that the programs use: maps are identified by their
 * address, and other actors may run at each access to one.
 */
#pragma once

#define __uint(name, value) int(*name)[value]
#define __type(name, value) __typeof__(value) *name
#define SEC(name)
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define __weak __attribute__((weak))

void *model_lookup(const void *map, const void *key);
long model_update(const void *map, const void *key, const void *value, unsigned long long flags);
long model_delete(const void *map, const void *key);

#define bpf_map_lookup_elem(map, key) model_lookup(map, key)
#define bpf_map_update_elem(map, key, value, flags) model_update(map, key, value, flags)
#define bpf_map_delete_elem(map, key) model_delete(map, key)
