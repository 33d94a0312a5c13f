// SPDX-License-Identifier: Apache-2.0
/*
 * enter <namespace file | -> <cgroup directory | -> <command> [argument...]
 *
 * Runs a command as a pod's process: moved into the cgroup before exec, so that every socket it
 * ever makes belongs to the pod, then into the network namespace. The command dies with the process
 * that started it.
 */
#include "common.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

static void join_cgroup(const char *directory)
{
	char path[4096];
	int file;

	snprintf(path, sizeof(path), "%s/cgroup.procs", directory);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0 || write(file, "0", 1) != 1)
		die("cannot move the process into the cgroup %s: %s", directory, strerror(errno));
	close(file);
}

static void join_namespace(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0 || setns(file, CLONE_NEWNET) != 0)
		die("cannot enter the network namespace %s: %s", path, strerror(errno));
	close(file);
}

int main(int count, char **arguments)
{
	pid_t parent;

	if (count < 4)
		die("usage: enter <namespace file | -> <cgroup directory | -> <command> "
		    "[argument...]");
	parent = getppid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		die("the process that wanted this command is gone");
	if (strcmp(arguments[2], "-") != 0)
		join_cgroup(arguments[2]);
	if (strcmp(arguments[1], "-") != 0)
		join_namespace(arguments[1]);
	raise_descriptor_limit();
	execvp(arguments[3], arguments + 3);
	fprintf(stderr, "cannot run %s: %s\n", arguments[3], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}
