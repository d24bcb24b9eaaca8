#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The benchmark's part in the guest: makes an ext4 and an XFS file system on RAM disks, filled in
# the same way, and measures them in turns. Started by tests/bench/run.sh; results go to
# /out/raw.tsv.
#
#     usage: guest.sh ROUNDS REPETITIONS TYPE...       TYPE: ext4, xfs, rext4

set -eu
rounds=$1
repetitions=$2
shift 2
mnt=/mnt/bench
mkdir -p $mnt

modprobe ext4
modprobe xfs
modprobe brd rd_nr=2 rd_size=1048576
for type in "$@"; do
	[ "$type" != rext4 ] || insmod "$REXT4_KO"
done

mke2fs -q -F -t ext4 -b 4096 -N 20000 -E assume_storage_prezeroed=1,lazy_itable_init=0 /dev/ram0 256M
mkfs.xfs -q -f -d size=384m /dev/ram1
for disk in "ext4 /dev/ram0" "xfs /dev/ram1"; do
	read -r type dev <<<"$disk"
	mount -t "$type" "$dev" $mnt
	bench fill $mnt
	umount $mnt
done
: >/out/raw.tsv
for ((round = 0; round < rounds; round++)); do
	for type in "$@"; do
		echo "# round $((round + 1)) of $rounds: $type"
		dev=/dev/ram0
		[ "$type" != xfs ] || dev=/dev/ram1
		mount -t "$type" -o ro "$dev" $mnt
		bench run $mnt "$repetitions" "$type" >>/out/raw.tsv
		umount $mnt
	done
done
uname -r >/out/kernel
