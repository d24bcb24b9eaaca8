#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 600
#
# Races for a file's contents, each made to happen by delays (tests/tools/race.c, /sys/kernel/debug/rext4/delay).
# After each: the contents, from the cache and from the device; nothing is lost of the space; e2fsck.
#
#     MATRIX=REGEX    only formats that match

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
tracing=/sys/kernel/tracing
is_mounted /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug || exit 1
if ! [ -e /sys/kernel/debug/rext4/delay/ended ]; then
	skip races "this kernel has no fault injection, or the driver is another one"
	finish
	exit
fi
delay() { echo "$2" >/sys/kernel/debug/rext4/delay/"$1"; }

fresh() { # NAME MKFS...
	local name=$1
	shift
	mke2fs -q -F "$@" /dev/ram0 64M >"$WORK/mke2fs" 2>&1 || not_ok "$name, mkfs" "$(tail -n 1 "$WORK/mke2fs")"
	mount -t "$FSTYPE" /dev/ram0 "$MNT" || { not_ok "$name" "does not mount"; return 1; }
}
space() { stat -f -c '%f free, %d inodes' "$MNT"; }
left() { cat /sys/fs/rext4/ram0/delayed_allocation_blocks; }

race_each() { # NAME MKFS...
	local name=$1 race before
	shift
	fresh "$name" "$@" || return
	# The journal's and the directory's own first.
	touch "$MNT/race" && rm "$MNT/race"
	sync -f "$MNT"
	for race in stale-unwritten stale-hole short-write again-in-flight two-direct direct-and-dirty cut-in-flight \
		gone-in-flight punch-in-flight placed; do
		# Maps of pointers have no such blocks.
		[ "$race $name" != "stale-unwritten ext3" ] || continue
		before=$(space)
		if race $race "$MNT" >"$WORK/race" 2>&1; then ok "$name, $race"; else
			not_ok "$name, $race" "$(head -n 1 "$WORK/race")"
			sed 's/^/#   /' "$WORK/race" | head -n 5
		fi
		rm -f "$MNT/race"
		# What was freed is so when that has been committed.
		sync -f "$MNT"
		equal "$name, $race, the space" "$(space)" "$before"
		equal "$name, $race, promises" "$(left)" 0
	done
	umount "$MNT"
	check "$name, e2fsck" e2fsck -fn /dev/ram0
}

# A crash while a write is in flight: the file is as it was. One after fsync: it is there.
cut_short() { # NAME MKFS...
	local name=$1
	shift
	fresh "$name" "$@" || return
	check "$name, fsync in flight" race synced "$MNT"
	cp "$MNT/race" "$WORK/synced"
	mv "$MNT/race" "$MNT/synced"
	sync -f "$MNT"
	check "$name, in flight" race left-in-flight "$MNT"
	xfs_io -x -c 'shutdown -f' "$MNT"
	delay ended 0
	umount "$MNT"
	check "$name, in flight, mount" mount -t "$FSTYPE" /dev/ram0 "$MNT"
	check "$name, what was there before" cmp "$WORK/synced" "$MNT/synced"
	equal "$name, in flight at the crash" "$(stat -c '%s bytes, %b blocks' "$MNT/race" 2>/dev/null)" "0 bytes, 0 blocks"
	umount "$MNT"
	check "$name, in flight, e2fsck" e2fsck -fn /dev/ram0
	fresh "$name" "$@" || return
	check "$name, fsync before the crash" race synced "$MNT"
	xfs_io -x -c shutdown "$MNT"
	umount "$MNT"
	check "$name, fsync before the crash, mount" mount -t "$FSTYPE" /dev/ram0 "$MNT"
	check "$name, what fsync has written" cmp "$WORK/synced" "$MNT/race"
	umount "$MNT"
	check "$name, after it, e2fsck" e2fsck -fn /dev/ram0
}

# Parts of a folio that is a hole here and unwritten there are cleared, without a deadlock; and behind the end of
# the file without writing what is dirty and unwritten.
clear_parts() { # NAME MKFS...
	local name=$1 file=$MNT/parts written
	shift
	fresh "$name" "$@" || return
	is_mounted $tracing || mount -t tracefs none $tracing || exit 1
	# A KiB each: unwritten and dirty, a hole, unwritten and clean, dirty without a place.
	xfs_io -f -c 'truncate 64k' -c 'falloc 0 1k' -c 'falloc 2k 1k' -c 'pwrite -q -S 0x61 100 800' -c 'pwrite -q -S 0x62 3k 1k' \
		"$file"
	check "$name, zeroes in parts" timeout 30 xfs_io -c 'fzero 200 3000' "$file"
	check "$name, a hole in parts" timeout 30 xfs_io -c 'fpunch 500 2800' "$file"
	check "$name, cut in a part" timeout 30 xfs_io -c 'truncate 3500' "$file"
	check "$name, longer again" timeout 30 xfs_io -c 'truncate 8k' "$file"
	{
		head -c 100 /dev/zero
		head -c 100 /dev/zero | tr '\0' a
		head -c 3100 /dev/zero
		head -c 200 /dev/zero | tr '\0' b
		head -c 4692 /dev/zero
	} >"$WORK/expected"
	check "$name, parts" cmp "$WORK/expected" "$file"
	# The end is in a block that is unwritten and dirty, and what is behind it in its folio a hole, as seen by a mapping.
	xfs_io -f -c 'falloc -k 0 1k' -c 'falloc -k 2k 1k' -c 'pwrite -q -S 0x61 0 700' -c 'mmap -rw 0 4k' -c 'mwrite -S 0x63 0 800' "$MNT/tail"
	echo 1 >$tracing/events/rext4/rext4_map_writeback/enable
	echo 1 >$tracing/events/rext4/rext4_map_zero/enable
	: >$tracing/trace
	check "$name, a write behind the end" timeout 30 xfs_io -c 'pwrite -q -S 0x62 3000 100' "$MNT/tail"
	written=$(grep -c rext4_map_writeback: $tracing/trace)
	check "$name, something was cleared" grep -q rext4_map_zero: $tracing/trace
	echo 0 >$tracing/events/rext4/rext4_map_writeback/enable
	echo 0 >$tracing/events/rext4/rext4_map_zero/enable
	equal "$name, written on the way" "$written" 0
	{
		head -c 700 /dev/zero | tr '\0' c
		head -c 2300 /dev/zero
		head -c 100 /dev/zero | tr '\0' b
	} >"$WORK/expected-tail"
	check "$name, tail" cmp "$WORK/expected-tail" "$MNT/tail"
	umount "$MNT"
	mount -t "$FSTYPE" /dev/ram0 "$MNT"
	check "$name, parts, from the device" cmp "$WORK/expected" "$file"
	check "$name, tail, from the device" cmp "$WORK/expected-tail" "$MNT/tail"
	umount "$MNT"
	check "$name, parts, e2fsck" e2fsck -fn /dev/ram0
}

while read -r name mkfs; do
	[[ $name =~ ${MATRIX:-.} ]] || continue
	# shellcheck disable=SC2086
	race_each "$name" $mkfs </dev/null
	# shellcheck disable=SC2086
	cut_short "$name" $mkfs </dev/null
done <<'LIST'
4k -t ext4 -b 4096
1k -t ext4 -b 1024
ext3 -t ext3 -b 1024
bigalloc -t ext4 -b 4096 -O bigalloc -C 16384
LIST
clear_parts 1k -t ext4 -b 1024
clear_parts 4k -t ext4 -b 4096
is_mounted $tracing && umount $tracing
finish
