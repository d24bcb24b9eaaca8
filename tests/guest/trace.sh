#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Trace events: each of them happens when it should, with the numbers that the file has; and not otherwise.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

tracing=/sys/kernel/tracing
[ -d $tracing/events ] || {
	mount -t tracefs none $tracing
	trap 'umount $tracing' EXIT
}
events=$tracing/events/rext4
[ -d $events ] || {
	skip "trace events" "a kernel without"
	finish
	exit
}
trace() { cat $tracing/trace; }
# happened NAME EVENT REGEX: an event with such values.
happened() {
	if grep -qE " rext4_$2: .*$3" <<<"$log"; then
		ok "$1"
	else
		not_ok "$1" "no $2 with /$3/"
		grep -E " rext4_$2:" <<<"$log" | head -n 3 | sed 's/^/#   /'
	fi
}

options=discard on "trace" -b 4096
echo 0 >$events/enable
echo >$tracing/trace
head -c 8k /dev/zero >"$MNT/quiet"
sync
equal "events are off" "$(trace | grep -c rext4_)" 0

echo 1 >$events/enable
xfs_io -f -c 'pwrite -q -b 64k 0 64k' "$MNT/f"
ino=$(stat -c %i "$MNT/f")
xfs_io -c 'fsync' "$MNT/f"
xfs_io -c 'pwrite -q 4k 4k' -c fsync "$MNT/f"
start=$(filefrag -v "$MNT/f" | awk '$1 == "0:" {sub(/\.\..*/, "", $4); print $4}')
echo 1 >/proc/sys/vm/drop_caches
cat "$MNT/f" >/dev/null
truncate -s 10k "$MNT/f"
xfs_io -f -c 'truncate 1m' -c 'pwrite -q 3000 100' -c 'truncate 2m' "$MNT/g"
# A cache that stands in a tree.
commands=()
for ((i = 0; i < 40; i++)); do
	commands+=(-c "pwrite -q $((i * 8))k 4k")
done
xfs_io -f "${commands[@]}" -c fsync "$MNT/holes"
exec 5<"$MNT/holes"
echo 2 >/proc/sys/vm/drop_caches
xfs_io -c 'pwrite -q 0 4k' -c fsync "$MNT/holes"
exec 5<&-
rm "$MNT/holes" "$MNT/g"
sync
sleep 1
echo 0 >$events/enable
log=$(trace)
dev="dev $(stat -c '%Hd,%Ld' "$MNT")"

happened "a write to a hole" map_write "$dev ino $ino lblk 0 len [0-9]+ hole at 0"
happened "space is promised" reserve "$dev clusters 16$"
happened "blocks are delayed" es_insert "ino $ino lblk 0 len 16 delayed at 0"
happened "a place is taken" take_place "block $start len 16"
happened "and written to" map_writeback "ino $ino lblk 0 len 16 written at $start"
happened "in flight" es_insert "ino $ino lblk 0 len 16 in flight at 0"
happened "on disk" settle "block $start len 16"
happened "in the map" map_complete "ino $ino lblk 0 len 16 written at $start"
happened "in the cache" es_insert "ino $ino lblk 0 len 16 written at $start"
happened "a write in place" map_write "ino $ino lblk 0 len 16 written at $start"
happened "written back in place" map_writeback "ino $ino lblk 1 len 1 written at $((start + 1))"
happened "a report" map_report "ino $ino lblk 0 len 16 written at $start"
happened "a hit" es_hit "ino $ino lblk 0 len 16 written at $start"
happened "a miss" es_miss "lblk 0 len 1 unknown"
happened "a read" map_read "ino $ino lblk 0 len 16 written at $start"
happened "what is cut off is forgotten" es_remove "ino $ino lblk 3 len [0-9]+ unknown"
happened "and freed" free "block $((start + 3)) len 13"
happened "and discarded" discard "block $((start + 3)) len 13"
happened "the tail is cleared" map_zero "ino $ino lblk 0 len 16 written"
happened "caches are shrunk" es_shrink "$dev wanted [0-9]+ seen [0-9]+ freed [1-9]"
head -c 4k /dev/zero >"$MNT/quiet"
sync
equal "and then they are off again" "$(trace | grep -c rext4_)" "$(grep -c rext4_ <<<"$log")"
check "every event has a format" test "$(find $events -name format | wc -l)" -eq 19
options='' clean "trace"
finish
