#!/bin/busybox sh
# The first process of the emulated machine: mounts the host's root file system, read-only with an overlay in
# memory, and runs the command in /command there. Shared folders: `root`, and `result` for the answer.
. /settings
busybox=/bin/busybox
mount="$busybox mount"
for directory in proc dev root layer; do $busybox mkdir -p "/$directory"; done
$mount -t proc proc /proc
$mount -t devtmpfs dev /dev
for module in $modules; do $busybox insmod "/lib/$module.ko"; done
$mount -t tmpfs layer /layer
$busybox mkdir /layer/below /layer/above /layer/work
$mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=1048576,cache=loose root /layer/below
$mount -t overlay -o lowerdir=/layer/below,upperdir=/layer/above,workdir=/layer/work overlay /root
$mount -t proc proc /root/proc
$mount -t sysfs sys /root/sys
$mount -t devtmpfs dev /root/dev
$mount -t tmpfs run /root/run
$mount -t cgroup2 cgroup /root/sys/fs/cgroup
$mount -t bpf bpf /root/sys/fs/bpf

# For modules that the kernel requests, such as those of nftables; it looks for the program in this root.
$busybox mkdir -p "/lib/modules/$release"
$mount --bind "/root$root/lib/modules/$release" "/lib/modules/$release"
printf '#!/bin/busybox sh\nexec /bin/busybox modprobe "$@"\n' >/modprobe
$busybox chmod +x /modprobe
echo /modprobe >/proc/sys/kernel/modprobe

$busybox mkdir -p /root/run/kernels/result
$busybox cp /command /root/run/kernels/
$mount -t 9p -o trans=virtio,version=9p2000.L result /root/run/kernels/result
$mount -t tmpfs tmp /root/tmp
$busybox chroot /root /bin/bash /run/kernels/command
echo "the command ended with $?"
$busybox poweroff -f
