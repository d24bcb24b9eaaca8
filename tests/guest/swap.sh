#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Swap files: what can be one, that memory comes back as it was, and that nobody changes one that is in use.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
type mkswap swapon >/dev/null 2>&1 || {
	skip "swap files" "no mkswap"
	finish
	exit
}
grep -q . /proc/swaps || {
	skip "swap files" "a kernel without"
	finish
	exit
}
swap=$MNT/swap
# refused NAME REGEX COMMAND...: the command fails and says so.
refused() {
	local name=$1 why=$2 out
	shift 2
	if out=$("$@" 2>&1); then
		not_ok "$name" "has worked"
	elif grep -qiE "$why" <<<"$out"; then
		ok "$name"
	else
		not_ok "$name" "$out"
	fi
}
# swap_file SIZE: zeroes, which are on disk afterwards.
swap_file() {
	rm -f "$swap"
	dd if=/dev/zero of="$swap" bs=1M count="$1" status=none
	chmod 600 "$swap"
	mkswap -q "$swap"
}

one() { # one NAME MKFS...
	local name=$1
	shift
	size=128M on "$name" "$@"
	swap_file 64
	check "$name: swapon" swapon "$swap"
	check "$name: in use" grep -q "^$swap" /proc/swaps
	refused "$name: written to" "text file busy" dd if=/dev/zero of="$swap" bs=4k count=1 conv=notrunc
	refused "$name: cut" "text file busy" truncate -s 4k "$swap"
	refused "$name: punched" "text file busy" fallocate -p -o 0 -l 8k "$swap"
	refused "$name: removed" "not permitted" rm "$swap"
	# More than the group may have in memory, of contents that do not repeat.
	mkdir -p "$WORK/cgroup"
	is_mounted "$WORK/cgroup" || mount -t cgroup2 none "$WORK/cgroup"
	echo +memory >"$WORK/cgroup/cgroup.subtree_control"
	mkdir -p "$WORK/cgroup/small"
	echo 24M >"$WORK/cgroup/small/memory.max"
	# shellcheck disable=SC2016
	check "$name: memory that was swapped out is as it was" bash -c '
		echo $$ >"$1/small/cgroup.procs"
		exec perl -e '\''
			my ($n, @p) = 48;
			open(my $f, "<", shift) or die;
			for my $i (1 .. $n) { sysread($f, $p[$i], 1 << 20) == 1 << 20 or die "short"; }
			seek($f, 0, 0);
			for my $i (1 .. $n) { sysread($f, my $d, 1 << 20); $p[$i] eq $d or die "piece $i"; }
		'\'' "$2"
	' - "$WORK/cgroup" "$WORK/data"
	local used
	used=$(awk -v file="$swap" '$1 == file {print $4}' /proc/swaps)
	check "$name: swapped ($(cat "$WORK/cgroup/small/memory.stat" | awk '$1 == "pswpout" {print $2}') pages; $used KiB are in use)" \
		test "$(awk '$1 == "pswpout" {print $2}' "$WORK/cgroup/small/memory.stat")" -gt 1000
	rmdir "$WORK/cgroup/small"
	check "$name: swapoff" swapoff "$swap"
	check "$name: can be removed again" rm "$swap"
	clean "$name"
}

head -c 48M /dev/urandom >"$WORK/data"
one extents -b 4096
one "indirect blocks" -b 1024 -O ^extents,^64bit

# What cannot be one. (swapon(8) would not even ask.)
ask() { perl -e 'syscall(167, $ARGV[0], 0) == 0 or die "$!\n"' "$1"; }
swap_file 8
check "a file that can be one" ask "$swap"
swapoff "$swap"
truncate -s 4m "$swap"
truncate -s 8m "$swap"
refused "a hole at the end" "invalid argument" ask "$swap"
rm "$swap"
swap_file 8
dd if="$swap" of="$MNT/sparse" bs=1M count=2 status=none
dd if="$swap" of="$MNT/sparse" bs=1M skip=3 seek=3 status=none
sync
refused "a hole in the middle" "invalid argument" ask "$MNT/sparse"
on "contents in inodes" -O inline_data -I 256
mkswap -q -U clear "$MNT/inline" 2>/dev/null || : >"$MNT/inline"
refused "an empty file, or one in its inode" "invalid argument" ask "$MNT/inline"
umount "$WORK/cgroup"
finish
