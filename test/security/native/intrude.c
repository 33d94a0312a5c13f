// SPDX-License-Identifier: Apache-2.0
/*
 * Tries operations that a pod without privileges must not be able to perform, and prints one line
 * for each: its name, and the errno or "done".
 *
 * usage: intrude CGROUP PIN...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char *what, bool done)
{
	printf("%s: %s\n", what, done ? "done" : strerrorname_np(errno));
}

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static void set_mark(const char *what, int socket)
{
	int mark = 0x4b4d;

	say(what, setsockopt(socket, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0);
}

static void open_pin(const char *path)
{
	union bpf_attr attributes = {.pathname = (__u64)path};

	say("open a pin", bpf(BPF_OBJ_GET, &attributes) >= 0);
	attributes.file_flags = BPF_F_RDONLY;
	say("read a pin", bpf(BPF_OBJ_GET, &attributes) >= 0);
	say("remove a pin", unlink(path) == 0);
}

static void open_by_id(const char *what, enum bpf_cmd command)
{
	for (__u32 id = 1; id < 20000; id++) {
		union bpf_attr attributes = {.map_id = id};

		if (bpf(command, &attributes) >= 0)
			return say(what, true);
		if (errno != ENOENT)
			break;
	}
	say(what, false);
}

static void change_hooks(const char *cgroup)
{
	static const enum bpf_attach_type types[] = {BPF_CGROUP_INET4_CONNECT,
						     BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_SOCK_OPS};
	int directory = open(cgroup, O_RDONLY | O_DIRECTORY);

	if (directory < 0)
		return say("detach a program", false);
	for (unsigned int i = 0; i < sizeof(types) / sizeof(*types); i++) {
		union bpf_attr attributes = {.target_fd = (__u32)directory,
					     .attach_type = types[i]};

		say("detach a program", bpf(BPF_PROG_DETACH, &attributes) == 0);
	}
	close(directory);
}

static void load_program(void)
{
	struct bpf_insn instructions[] = {
	    {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
	    {.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attributes = {
	    .prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
	    .expected_attach_type = BPF_CGROUP_INET4_CONNECT,
	    .insns = (__u64)instructions,
	    .insn_cnt = 2,
	    .license = (__u64) "GPL",
	};

	say("load a program", bpf(BPF_PROG_LOAD, &attributes) >= 0);
}

static void leave_cgroup(const char *cgroup)
{
	char path[4096];
	int file;

	snprintf(path, sizeof(path), "%s/../cgroup.procs", cgroup);
	file = open(path, O_WRONLY);
	say("leave the cgroup", file >= 0 && write(file, "0", 1) == 1);
	close(file);
}

int main(int count, char **arguments)
{
	int stream = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (count < 3)
		return 2;
	set_mark("set the mark", stream);
	set_mark("set the mark on IPv6", socket(AF_INET6, SOCK_STREAM, 0));
	say("be transparent", setsockopt(stream, SOL_IP, IP_TRANSPARENT, &one, sizeof(one)) == 0);
	for (int i = 2; i < count; i++)
		open_pin(arguments[i]);
	open_by_id("open a map", BPF_MAP_GET_FD_BY_ID);
	open_by_id("open a program", BPF_PROG_GET_FD_BY_ID);
	open_by_id("open a link", BPF_LINK_GET_FD_BY_ID);
	load_program();
	change_hooks(arguments[1]);
	leave_cgroup(arguments[1]);
	say("get another network", unshare(CLONE_NEWNET) == 0);
	/* All capabilities, but not in the pod's network namespace. */
	if (unshare(CLONE_NEWUSER) == 0) {
		set_mark("set the mark from a user namespace", stream);
		open_by_id("open a map from a user namespace", BPF_MAP_GET_FD_BY_ID);
		change_hooks(arguments[1]);
	}
	return 0;
}
