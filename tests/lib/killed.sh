#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# One of several guests on one disk, /dev/vdb, each of which dies while names and inodes change; started by
# tests/run.sh. What the one before has left is looked at first.
#
#     usage: killed.sh ROUND LAST HOW
#
# ROUND counts from 1; LAST is 1 if this one only looks. HOW it dies: `reset` by itself after some seconds, or `kill` by
# somebody else, once it has made some operations durable. /out/durable.ROUND says how many those are.

. "$(dirname "$0")/../guest/lib.sh"
. "$(dirname "$0")/plug.sh"

round=$1 last=$2 how=$3
arguments() { echo --seed $((SEED * 1000 + $1)) --names 120 --sync 20; }

load_drivers
load_ram_disks
mkdir "$WORK/other"

if [ "$round" -gt 1 ]; then
	before=$((round - 1))
	least=$(tail -n 1 "/out/durable.$before" | grep -o '[0-9]*')
	name="after guest $before"
	check "$name: something was durable" test "${least:-0}" -gt 20
	if mount -t "$FSTYPE" /dev/vdb "$MNT"; then
		logged "$name: recovered" "recovery complete|orphan|mounted filesystem"
		make_fs /dev/ram0 128M -t ext4 -b 4096
		mount -t ext4 /dev/ram0 "$WORK/other" && mkdir "$WORK/other/$before"
		# shellcheck disable=SC2046
		reference_start "$WORK/other/$before" $(arguments $before)
		as_expected "$name: the tree" "$MNT/$before" "${least:-0}" 1000000000 && ok "$name: the tree (operation $reached, $least durable)"
		reference_end
		umount "$WORK/other"
		umount "$MNT"
	else
		not_ok "$name: mounts"
	fi
	check "$name: clean" e2fsck -fn /dev/vdb
	check "$name: C ext4 mounts it" mount -t ext4 /dev/vdb "$MNT"
	umount "$MNT"
else
	mke2fs -q -F -t ext4 -b 4096 /dev/vdb
fi
if [ "$last" = 1 ]; then
	finish
	exit
fi
mount -t "$FSTYPE" /dev/vdb "$MNT" && mkdir "$MNT/$round" && sync -f "$MNT" || exit 1
# shellcheck disable=SC2046
metaload --crash $(arguments "$round") --ops 1000000000 --durable "/out/durable.$round" "$MNT/$round" &
if [ "$how" = reset ]; then
	while [ "$(cat "/out/durable.$round" 2>/dev/null | wc -l)" -lt 25 ]; do sleep 0.2; done
	echo b >/proc/sysrq-trigger
fi
wait
