#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The benchmark's row of concurrency in the guest: threads that create files, on C ext4 and on rext4 in turn, by
# the clock, since a guest whose time counts instructions has one processor. Writes the files per second of both
# to /out/threads.tsv, a line per pair.
#
#     usage: tests/bench/threads.sh PAIRS

set -euo pipefail

disk=/dev/ram0
mnt=/run/mnt
files=2000

modprobe brd rd_nr=1 rd_size=1048576
modprobe ext4
for dependency in $(modinfo -F depends "$REXT4_KO" | tr , ' '); do
	modprobe "$dependency"
done
insmod "$REXT4_KO"
mkdir -p $mnt
dmesg -n 5

rate() { # TYPE
	blkdiscard -q -f $disk
	mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 $disk
	mount -t "$1" $disk $mnt
	fsbench threads $mnt $files
	umount $mnt
}

mkfs.ext4 -q $disk
mount -t rext4 $disk $mnt
if ! mkdir $mnt/writes 2>/run/error; then
	echo "bench: rext4 does not write: $(cat /run/error)"
	exit
fi
umount $mnt
printf 'ext4\trext4\n' >/out/threads.tsv
for ((i = -1; i < $1; i++)); do
	# Who is first takes turns.
	if ((i % 2)); then
		rext4=$(rate rext4)
		ext4=$(rate ext4)
	else
		ext4=$(rate ext4)
		rext4=$(rate rext4)
	fi
	# The first pair is a rehearsal.
	if ((i >= 0)); then
		printf '%s\t%s\n' "$ext4" "$rext4" >>/out/threads.tsv
	fi
done
