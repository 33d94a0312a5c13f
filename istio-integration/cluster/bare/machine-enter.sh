#!/bin/bash
# machine-enter.sh NAME PID PROGRAM ...: becomes a program of the machine whose process 1 is PID here: in its cgroups, so that
# what the program starts is counted to the machine, and then in its namespaces.
set -euo pipefail
name=$1 pid=$2
shift 2
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
	[ ! -e "$hierarchy/kmesh-cluster/$name/cgroup.procs" ] || echo $$ >"$hierarchy/kmesh-cluster/$name/cgroup.procs"
done
exec nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- "$@"
