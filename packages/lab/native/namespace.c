// SPDX-License-Identifier: Apache-2.0
/*
 * Creates network namespaces, each kept alive by a mount on a file, and deletes them:
 *
 *   namespace create [<file> [<setting>=<value>...] [--]]...
 *   namespace delete <file>...
 *
 * One process sets up a whole namespace: creates it, brings lo up, writes the settings (paths below
 * /proc/sys/net). `ip netns add` and three more commands do the same in ten times the time.
 */
#include "common.h"

#include <net/if.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

static void loopback_up(void)
{
	int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (any < 0 || ioctl(any, SIOCSIFFLAGS, &request) != 0)
		die("cannot bring lo up: %s", strerror(errno));
	close(any);
}

/* A setting that this kernel does not have is skipped: none of them decides whether the lab works.
 */
static void write_setting(char *setting)
{
	char *value = strchr(setting, '=');
	char path[512];
	int file;

	if (!value)
		die("%s is not <setting>=<value>", setting);
	*value++ = '\0';
	snprintf(path, sizeof(path), "/proc/sys/net/%s", setting);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0) {
		if (errno == ENOENT)
			return;
		die("cannot open %s: %s", path, strerror(errno));
	}
	if (write(file, value, strlen(value)) < 0)
		die("cannot write %s to %s: %s", value, path, strerror(errno));
	close(file);
}

/*
 * Makes the folder a shared mount, as `ip netns add` does the first time it runs: if that ran
 * later, its mount would cover the namespaces that are here by then. Both take the same lock.
 */
static void share_folder_of(const char *path)
{
	char folder[4096];
	int lock;

	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) != 0)
		die("cannot lock %s: %s", folder, strerror(errno));
	if (mount("", folder, "none", MS_SHARED | MS_REC, NULL) != 0 &&
	    (errno != EINVAL || mount(folder, folder, "none", MS_BIND | MS_REC, NULL) != 0 ||
	     mount("", folder, "none", MS_SHARED | MS_REC, NULL) != 0))
		die("cannot make %s a shared mount: %s", folder, strerror(errno));
	close(lock);
}

static int create(int count, char **arguments)
{
	if (!strrchr(arguments[0], '/'))
		die("%s is not a path", arguments[0]);
	share_folder_of(arguments[0]);
	for (int i = 0; i < count; i++) {
		const char *path = arguments[i];
		int file = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

		if (file < 0)
			die("cannot make %s: %s", path, strerror(errno));
		close(file);
		if (unshare(CLONE_NEWNET) != 0 ||
		    mount("/proc/thread-self/ns/net", path, "none", MS_BIND, NULL) != 0) {
			int error = errno;

			unlink(path);
			die("cannot make the network namespace %s: %s", path, strerror(error));
		}
		loopback_up();
		for (i++; i < count && strcmp(arguments[i], "--") != 0; i++)
			write_setting(arguments[i]);
	}
	return 0;
}

static int delete (int count, char **arguments)
{
	int failed = 0;

	for (int i = 0; i < count; i++) {
		if (umount2(arguments[i], MNT_DETACH) != 0 && errno != EINVAL && errno != ENOENT)
			failed = errno;
		if (unlink(arguments[i]) != 0 && errno != ENOENT)
			failed = errno;
	}
	if (failed)
		die("cannot remove a network namespace: %s", strerror(failed));
	return 0;
}

int main(int count, char **arguments)
{
	if (count >= 3 && strcmp(arguments[1], "create") == 0)
		return create(count - 2, arguments + 2);
	if (count >= 3 && strcmp(arguments[1], "delete") == 0)
		return delete (count - 2, arguments + 2);
	die("usage: namespace create <file> [<setting>=<value>...] | namespace delete <file>...");
}
