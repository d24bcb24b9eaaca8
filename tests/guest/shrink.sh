#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Extent status caches of fragmented files are given up when memory is short, and not what they alone know.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

FILES=16 RANGES=300

# fragmented FILE [N]: N blocks of 1 KiB, each behind a hole.
fragmented() {
	local i commands=()
	for ((i = 0; i < ${2:-$RANGES}; i++)); do
		commands+=(-c "pwrite -q -S $((i % 250 + 1)) $((i * 4))k 1k")
	done
	xfs_io -f "${commands[@]}" "$1"
}
sums() { (cd "$MNT" && md5sum f*); }
figure() { awk -v what="$1" '{line = $0; sub(/^ +[0-9]+ /, "", line)} line == what {print $1}' "/proc/fs/$FSTYPE/ram0/es_shrinker_info"; }
# Without a word in the log.
echo 4 >/proc/sys/vm/drop_caches
shrink() { echo 2 >/proc/sys/vm/drop_caches; }

on "fragmented files" -b 1024
for ((n = 0; n < FILES; n++)); do
	fragmented "$MNT/f$n" || not_ok "f$n" "cannot be written"
done
sync
before=$(sums)
# What is open is not evicted with its cache.
for ((n = 0; n < FILES; n++)); do
	eval "exec $((n + 20))<\"$MNT/f$n\""
	xfs_io -r -c fiemap "$MNT/f$n" >/dev/null
done
known=$(figure objects)
check "ranges of all files are known ($known)" test "$known" -ge $((FILES * RANGES))
equal "which could be given up" "$(figure 'reclaimable objects')" "$known"
equal "inodes on the list" "$(figure 'inodes on list')" $FILES
shrink
check "when memory is short they go ($(figure objects) are left)" test "$(figure objects)" -lt $((known / 10))
equal "and are found again" "$(sums)" "$before"
echo 1 >/proc/sys/vm/drop_caches
equal "also from the disk" "$(sums)" "$before"

# Delayed data is known to the cache alone.
fragmented "$MNT/f0" 200
fragmented "$MNT/new"
shrink
check "ranges of what is not on disk stay ($(figure objects))" test "$(figure objects)" -ge $RANGES
equal "inodes on the list" "$(figure 'inodes on list')" 1
want=$(md5sum <"$MNT/new")
for ((n = 0; n < FILES; n++)); do
	eval "exec $((n + 20))<&-"
done
clean "after that"
equal "what was not on disk" "$(md5sum <"$MNT/new")" "$want"
equal "what was" "$(sums)" "$before"

# Against evictions, writes and truncations.
(while sleep 0.5; do
	shrink
	cat "/proc/fs/$FSTYPE/ram0/es_shrinker_info" >"$WORK/info"
done) &
shrinker=$!
for ((n = 0; n < FILES; n++)); do
	fragmented "$MNT/t$n" 40
	cat "$MNT/f$n" >/dev/null
	((n % 2)) || truncate -s 20k "$MNT/t$n"
	((n % 4)) || rm "$MNT/t$n"
done
sync
kill $shrinker
wait $shrinker 2>/dev/null
equal "while others shrink the caches" "$(sums)" "$before"
shrink
equal "inodes on the list, when all is on disk" "$(figure 'inodes on list')" ''
equal "and what is counted has come to nothing" "$(figure objects)" 0
clean "after all"
finish
