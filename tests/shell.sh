#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What `make shell` does in the guest before the shell: a file system that C ext4 has filled, mounted by rext4.

mnt=/mnt
echo "one moment: C ext4 fills /dev/vdb"
modprobe ext4
if mke2fs -q -F -t ext4 /dev/vdb && mount -t ext4 /dev/vdb $mnt; then
	fill --bulk 2000 --big 16 $mnt >/dev/null
	umount $mnt
fi
if insmod "$REXT4_KO" && mount -t rext4 /dev/vdb $mnt; then
	grep " $mnt " /proc/self/mounts
fi
cat <<HELP

The module is $REXT4_KO, the project is /src (read-only), C ext4 and XFS are at hand (modprobe).
All of it is gone when the shell ends.
HELP
cd $mnt || exit
exec bash -i
