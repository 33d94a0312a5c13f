#!/bin/bash
# machine-enter.sh NAME PID PROGRAM ...: executes a program in the machine whose process 1 has the host's PID: in its cgroups, so that
# child processes belong to the machine, and then in its namespaces.
set -euo pipefail
name=$1 pid=$2
shift 2
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
	[ ! -e "$hierarchy/kmesh-cluster/$name/cgroup.procs" ] || echo $$ >"$hierarchy/kmesh-cluster/$name/cgroup.procs"
done
exec nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- "$@"
