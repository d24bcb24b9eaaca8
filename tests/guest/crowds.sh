#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 900
#
# Directories that grow from a block to an index of several levels and shrink again, whose names come and go, and
# that are listed while they change.
#
#     LONG=1    also an index of three levels

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0

# of DIR: its blocks in 512 bytes, and the depth of its index (0 if it has none).
blocks() { stat -c %b "$MNT/$1"; }
levels() {
	sync -f "$MNT"
	debugfs -R "htree_dump $1" $dev 2>/dev/null | awk '/Indirect levels/ {print $3 + 1; found = 1} END {if (!found) print 0}'
}

# life NAME LEVELS COUNT LENGTH MKFS...: a directory of so many names has so many levels, and is empty afterwards.
life() {
	local name=$1 levels=$2 count=$3 length=$4 order full left
	shift 4
	on "$name" "$@"
	for order in up down mixed; do
		mkdir "$MNT/dir"
		check "$name, grows" crowd link "$MNT/dir" 0 "$count" "$length"
		check "$name, all there" crowd check "$MNT/dir" 0 "$count" "$length"
		[ $order != up ] || equal "$name, levels" "$(levels dir)" "$levels"
		full=$(blocks dir)
		# Half of it, then all of it but a few.
		check "$name, $order, half removed" crowd remove "$MNT/dir" $((count / 2)) "$count" "$length" $order
		check "$name, $order, half there" crowd check "$MNT/dir" 0 $((count / 2)) "$length"
		check "$name, $order, most removed" crowd remove "$MNT/dir" 5 $((count / 2)) "$length" $order
		check "$name, $order, few there" crowd check "$MNT/dir" 0 5 "$length"
		left=$(blocks dir)
		# C ext4 gives nothing back before the directory goes. Without an index what is empty has to be at the end.
		if [ "$FSTYPE" != ext4 ] && [ "$levels" -gt 0 ]; then
			check "$name, $order, shrinks from $full to $left sectors" test $((left * 4)) -le "$full"
		elif [ "$FSTYPE" != ext4 ] && [ "$full" -gt 8 ]; then
			check "$name, $order, shrinks from $full to $left sectors" test "$left" -lt "$full"
		fi
		clean "$name, $order"
		# Names that were there before, in what is left of the directory.
		check "$name, $order, grows again" crowd link "$MNT/dir" 5 $((count / 2)) "$length"
		check "$name, $order, all there again" crowd check "$MNT/dir" 0 $((count / 2)) "$length"
		check "$name, $order, as large as it was at most" test "$(blocks dir)" -le "$full"
		clean "$name, $order, again"
		check "$name, $order, removed" crowd remove "$MNT/dir" 0 $((count / 2)) "$length" $order
		check "$name, $order, gone" rmdir "$MNT/dir"
		rm "$MNT"/crowd-*
	done
	clean "$name, empty"
}
life "linear, 4k" 0 60 20 -b 4096
life "one level, 1k" 1 600 40 -b 1024
life "linear without an index" 0 600 40 -b 1024 -O ^dir_index
life "one level, 4k" 1 2000 200 -b 4096
life "two levels, 1k" 2 2500 240 -b 1024
[ -z "${LONG:-}" ] || life "three levels, 1k" 3 52000 240 -b 1024 -O large_dir

# The same few names again and again need no more room.
on "names reused" -b 1024
ops "names reused, made" <<<"ok mkdir d
ok*8 mkdir d/{n*100}%"
before=1000000
for i in 1 2 3 4 5 6 7 8 9 10; do
	metaop "$MNT" <<<"ok*8 rmdir d/{n*100}%
ok*8 mkdir d/{n*100}%
ok*8 rename d/{n*100}% d/{m*100}%
ok*8 rename d/{m*100}% d/{n*100}%" || not_ok "names reused, turn $i"
	# The first turns may need more than the first eight names did.
	[ "$i" -ne 3 ] || before=$(blocks d)
done
check "names reused, in the same room" test "$(blocks d)" -le "$before"
clean "names reused"

# --- listed while they change ---

for config in "few 4 -b 4096" "one-block 20 -b 4096" "blocks 400 -b 1024" "two-levels 3000 -b 1024" "inline 3 -b 4096 -O inline_data"; do
	read -r name count mkfs <<<"$config"
	# shellcheck disable=SC2086
	on "churn, $name" $mkfs
	mkdir "$MNT/dir"
	check "churn, $name: who stays is seen once" crowd churn "$MNT/dir" "$count" 4 "$SEED"
	clean "churn, $name"
done
finish
