#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The benchmark's part in the guest: one boot, one RAM disk. C ext4 fills an image and is measured on it, then
# rext4 on the same image; then XFS fills its own and is measured. Writes /out/raw.tsv and /out/kallsyms.
#
#     usage: tests/bench/guest.sh REPETITIONS [ROW]...

set -euo pipefail

repetitions=$1
shift
disk=/dev/ram0
mnt=/run/mnt

modprobe brd rd_nr=1 rd_size=1048576
modprobe ext4
modprobe xfs
for dependency in $(modinfo -F depends "$REXT4_KO" | tr , ' '); do
	modprobe "$dependency"
done
insmod "$REXT4_KO"
[ "$(blockdev --getsize64 $disk)" -eq 1073741824 ] || { echo "no RAM disk of 1 GiB"; exit 1; }
mkdir -p $mnt
# Messages on the serial port cost instructions; warnings are still wanted.
dmesg -n 5

fill() { # TYPE
	mount -t "$1" $disk $mnt
	fsbench fill $mnt
	umount $mnt
}

measure() { # TYPE NUMBER ROW...
	local type=$1 number=$2 line
	shift 2
	echo "bench: $type"
	fsbench measure $disk "$type" $mnt "$number" "$repetitions" "$@" >/run/lines
	while IFS= read -r line; do
		printf '%s\t%s\n' "$type" "$line"
	done </run/lines >>/out/raw.tsv
}

printf 'fs\trow\tunit\tmedian\tmin\tmax\tmark\tunits\n' >/out/raw.tsv
echo "bench: filling"
mkfs.ext4 -q $disk
fill ext4
# The symbols of a profile.
cat /proc/kallsyms >/out/kallsyms
measure ext4 0 "$@"
measure rext4 1 "$@"
# Empty again, also in memory.
blkdiscard -f $disk
mkfs.xfs -q -f $disk
fill xfs
measure xfs 2 "$@"
