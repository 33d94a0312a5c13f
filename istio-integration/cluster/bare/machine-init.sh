#!/bin/bash
# machine-init.sh ROOT NAME PROGRAMS IMAGES: process 1 of a machine, in separate namespaces. Mounts the file systems of a
# node below ROOT, enters them, and then only reaps orphaned processes. Mounts of the host are read-only; everything else is
# below ROOT, so that the host is not changed and nothing remains when this process ends.
set -euo pipefail
root=$1 name=$2 programs=$3 images=$4

mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mkdir -p usr proc sys dev run tmp var/log var/lib etc opt/kmesh opt/images old
for link in bin sbin lib lib64; do [ -L "$link" ] || ln -s "usr/$link" "$link"; done
[ -e var/run ] || ln -s /run var/run
mount --bind /usr usr
mount -o remount,bind,ro usr
mount --bind "$programs" opt/kmesh
mount -o remount,bind,ro opt/kmesh
mount --bind "$images" opt/images
mount -o remount,bind,ro opt/images
mount --rbind /dev dev
mount --make-rslave dev
mount -t tmpfs tmpfs run
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
hierarchies=$(awk '($3 == "cgroup" || $3 == "cgroup2") && $2 ~ "^/sys/fs/cgroup" && !seen[$1 $3 $4]++ { print $2, $3 }' /proc/self/mounts)
if [[ $hierarchies == '/sys/fs/cgroup cgroup2' ]]; then
	mount -t cgroup2 cgroup2 sys/fs/cgroup
else
	# A host with cgroup v1 controllers, and perhaps v2 beside them.
	mount -t tmpfs tmpfs sys/fs/cgroup
	while read -r place type; do
		mkdir -p "$root$place"
		case $(basename "$place") in
		systemd) options=none,name=systemd ;;
		*) options=$(basename "$place") ;;
		esac
		[ "$type" = cgroup ] || options=rw
		mount -t "$type" -o "$options" "$type" "$root$place"
	done <<<"$hierarchies"
fi
# Alternatives of programs are those of the host.
for file in passwd group nsswitch.conf protocols services ld.so.cache ld.so.conf ld.so.conf.d alternatives ssl ca-certificates; do
	[ ! -e "/etc/$file" ] || [ -e "etc/$file" ] || cp -a "/etc/$file" "etc/$file"
done
hostname "$name"
pivot_root . old
cd /
umount -l /old
# Required by volumes with bidirectional mount propagation.
mount --make-rshared /
sysctl -qw net.ipv4.ip_forward=1
ip link set lo up
trap '' TERM INT
touch /run/started
while :; do
	sleep infinity &
	wait $! || true
done
