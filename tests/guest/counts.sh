#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 900
#
# What is counted, and who may have it: statfs at every step beside C ext4's, the last blocks and inodes, blocks
# that wait for a commit; inode numbers that are in use or have just been; clusters of directories with holes.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0

# attach NAME OPTIONS
attach() {
	log_mark
	if mount -w -t "$FSTYPE" -o "$2" $dev "$MNT" >/dev/null 2>"$WORK/err"; then
		ok "$1"
	else
		not_ok "$1" "$(cat "$WORK/err")"
		log_since | tail -n 3 | sed 's/^/#   /'
		false
	fi
}

# clean NAME: e2fsck finds nothing.
clean() {
	local out
	if out=$(e2fsck -fn $dev 2>&1); then
		ok "$1"
	else
		not_ok "$1" "e2fsck complains"
		sed 's/^/#   /' <<<"$out" | head -n 15
	fi
}

# --- what statfs says ---

# changes: the same changes by either driver, that need blocks and inodes and free them. Directories stay
# in one block: how full the drivers leave those of larger ones is their own affair.
changes() {
	mkdir "$MNT"/d{1..60}
	for n in $(seq 40); do (cd "$MNT/d$n" && touch a-rather-long-name-for-a-file-{1..10}); done
	ln -s "$(printf '%0300d' 7)" "$MNT/slow"
	rmdir "$MNT"/d{41..52}
	rm -r "$MNT"/d{1..9}
	mkfifo "$MNT/fifo"
}
counts() { stat -f -c '%b %f %a %c %d %S %l' "$MNT"; }
statfs() { # NAME OPTIONS MKFS...
	local name="statfs, $1" options=$2 type uuid=01020304-0506-0708-090a-0b0c0d0e0f10
	shift 2
	for type in ext4 "$FSTYPE"; do
		make_fs $dev 48M -U $uuid -E hash_seed=$uuid "$@"
		mount -t "$type" -o "$options" $dev "$MNT" >/dev/null || break
		{
			counts
			changes
			counts
			sync -f "$MNT"
			counts
		} >"$WORK/statfs.$type"
		umount "$MNT"
	done
	check "$name" diff "$WORK/statfs.ext4" "$WORK/statfs.$FSTYPE"
	equal "$name, times" "$(wc -l <"$WORK/statfs.$FSTYPE")" 3
	clean "$name, clean"
	# The superblock's own counts, which e2fsck does not insist on.
	equal "$name, superblock" "$(dumpe2fs -h $dev 2>/dev/null | sed -n 's/^Free blocks: *//p')" \
		"$(dumpe2fs $dev 2>/dev/null | awk '/^  [0-9]+ free blocks/ {n += $1} /^  [0-9]+ free clusters/ {n += 4 * $1} END {print n}')"
}
statfs "1k" "" -t ext4 -b 1024
statfs "4k, minixdf" "minixdf" -t ext4 -b 4096
statfs "bigalloc" "" -t ext4 -b 1024 -C 4096 -O bigalloc
statfs "ext3, no journal" "" -t ext3 -b 1024 -O ^has_journal

# --- who may have the last blocks ---

chmod 711 "$WORK"
# nobody COMMAND...: as a user without privileges.
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
# eat WHO NAME: makes directories, one block each, until that fails. Prints the error, and how many there are.
eat() {
	local who=$1 name=$2
	$who mkdir "$MNT/d/$name"{1..4000} 2>&1 | sed -n '1s/.*: //p'
	find "$MNT/d" -maxdepth 1 -name "$name*" | wc -l
}
space() { mkdir -m 777 "$MNT/d"; }
free_now() { stat -f -c %f "$MNT"; }

make_fs $dev 4M -t ext4 -b 1024 -N 4096 -m 25 -O ^has_journal
attach "reserve, mount" ""
space
attributes=/sys/fs/$FSTYPE/ram0
echo 20 >"$attributes"/reserved_clusters
reserved=$(dumpe2fs -h $dev 2>/dev/null | sed -n 's/^Reserved block count: *//p')
equal "reserve, users" "$(eat nobody a | head -n 1)" "No space left on device"
left=$(free_now)
# What is left is what is reserved; the directory itself may need a block besides that of its entry.
check "reserve, left" test "$left" -ge $((reserved + 20)) -a "$left" -le $((reserved + 24))
equal "reserve, available" "$(stat -f -c %a "$MNT")" "$((left - reserved - 20))"
equal "reserve, administrators" "$(eat '' b | head -n 1)" "No space left on device"
left=$(free_now)
check "reserve, the pool is left" test "$left" -ge 20 -a "$left" -le 24
echo 0 >"$attributes"/reserved_clusters
eat '' c >"$WORK/eaten"
equal "reserve, no pool" "$(sed -n 1p "$WORK/eaten")" "No space left on device"
check "reserve, all" test "$(free_now)" -le 2
umount "$MNT"
clean "reserve, clean"

make_fs $dev 4M -t ext4 -b 1024 -N 4096 -m 25 -O ^has_journal
attach "resuid, mount" "resuid=65534"
space
eat nobody a >/dev/null
check "resuid" test "$(free_now)" -lt "$reserved"
umount "$MNT"
make_fs $dev 4M -t ext4 -b 1024 -N 4096 -m 25 -O ^has_journal
attach "resgid, mount" ""
check "resgid, remount" mount -o remount,resgid=65534 "$MNT"
space
eat nobody a >/dev/null
check "resgid" test "$(free_now)" -lt "$reserved"
umount "$MNT"

# What has been freed can be had at once by who finds no space, although no commit is due.
make_fs $dev 8M -t ext4 -b 1024 -N 8192 -J size=1
attach "retry, mount" "commit=300"
space
eat '' a >/dev/null
sync -f "$MNT"
rmdir "$MNT"/d/a{100..160}
mkdir "$MNT"/d/again{1..50} 2>"$WORK/err"
equal "retry" "$(cat "$WORK/err")" ""
umount "$MNT"
clean "retry, clean"

# All inodes.
make_fs $dev 16M -t ext4 -b 1024 -N 256
attach "inodes, mount" ""
space
equal "inodes" "$(eat '' a | head -n 1)" "No space left on device"
equal "inodes, none left" "$(stat -f -c %d "$MNT")" 0
rmdir "$MNT/d/a7"
check "inodes, one more" mkdir "$MNT/d/b"
umount "$MNT"
clean "inodes, clean"

# --- numbers that are in use, and numbers that were ---

errors() { cat "/sys/fs/$FSTYPE/ram0/errors_count"; }

# Four groups of 64 inodes. The bitmap says that a file in use is free.
make_fs $dev 4M -t ext4 -b 1024 -g 1024 -N 256 -O ^flex_bg
attach "in use, first mount" ""
touch "$MNT/file"
number=$(stat -c %i "$MNT/file")
umount "$MNT"
debugfs -w -R "freei <$number>" $dev 2>/dev/null
attach "in use, mount" ""
stat "$MNT/file" >/dev/null
log_mark
equal "in use, EIO" "$(touch "$MNT/new" 2>&1 | sed 's/.*: //')" "Input/output error"
check "in use, message" grep -q "doubly allocated" <(log_since)
equal "in use, counted" "$(errors)" 1
# The group is not used any more, others are.
check "in use, others" touch "$MNT"/new{1..20}
check "in use, group" test "$(for n in $(seq 20); do stat -c %i "$MNT/new$n"; done | sort -n | head -n 1)" -gt 64
equal "in use, once" "$(errors)" 1
umount "$MNT"

# A file with two names that counts one, and has lost it.
make_fs $dev 4M -t ext4 -b 1024
attach "no links, first mount" ""
touch "$MNT/a" "$MNT/c"
umount "$MNT"
debugfs -w -R "ln a b" $dev 2>/dev/null
attach "no links, mount" ""
exec 7<"$MNT/a"
stat "$MNT/b" >/dev/null
rm "$MNT/a"
log_mark
equal "no links, EUCLEAN" "$(mv "$MNT/c" "$MNT/b" 2>&1 | sed 's/.*: //')" "Structure needs cleaning"
check "no links, message" grep -q "target of rename is already freed" <(log_since)
equal "no links, counted" "$(errors)" 1
exec 7<&-
umount "$MNT"

# again: two files are made, the first is deleted and another one made: its inode's number,
# less that of the first.
again() {
	touch "$MNT/first" "$MNT/second"
	local first
	first=$(stat -c %i "$MNT/first")
	rm "$MNT/first"
	touch "$MNT/third"
	echo $(($(stat -c %i "$MNT/third") - first))
}
make_fs $dev 4M -t ext4 -b 1024 -N 64
attach "numbers, mount" ""
equal "numbers, journal" "$(again)" 0
umount "$MNT"
make_fs $dev 4M -t ext4 -b 1024 -N 64 -O ^has_journal
attach "numbers, no journal, mount" ""
equal "numbers, no journal" "$(again)" 2
# It is a preference.
touch "$MNT"/more{1..100} 2>/dev/null
equal "numbers, all" "$(stat -f -c %d "$MNT")" 0
rm "$MNT"/more{1..10}
check "numbers, there are no others" touch "$MNT"/more{1..10}
umount "$MNT"
clean "numbers, no journal, clean"

# --- holes in directories, where clusters have several blocks ---

# name WHAT N: so long that three fit a block.
name() { printf '%s-%0245d' "$1" "$2"; }
# holes NAME FIRST LAST COMMAND...: a directory of 40 blocks, blocks FIRST to LAST of which are punched; what the
# command does then.
holes() {
	local what=$1 first=$2 last=$3
	shift 3
	make_fs $dev 16M -t ext4 -b 1024 -C 16384 -O bigalloc,^dir_index
	attach "holes, $what, first mount" ""
	mkdir "$MNT/d"
	(cd "$MNT/d" && for n in $(seq 118); do ln ../d.file "$(name old "$n")" 2>/dev/null || { touch ../d.file && ln ../d.file "$(name old "$n")"; }; done)
	equal "holes, $what, blocks" "$(stat -c %s "$MNT/d")" $((40 * 1024))
	umount "$MNT"
	debugfs -w -R "punch d $first $last" $dev 2>/dev/null
	check "holes, $what, made" grep -q "unallocated block" <(e2fsck -fn $dev 2>&1)
	attach "holes, $what, mount" ""
	(cd "$MNT/d" && "$@")
	umount "$MNT"
	# Names in the holes are gone, and with them links.
	e2fsck -fy $dev >"$WORK/fsck" 2>&1
	check "holes, $what, clusters" bash -c '! grep -qE "bitmap|luster|ree blocks count|i_blocks" "$1"' - "$WORK/fsck"
}
fill() { for n in $(seq 70); do ln ../d.file "$(name new "$n")"; done; }
# From the end, so that each block is the last one when it gets empty.
drain() { printf '%s\0' * | sort -rz | xargs -0 rm -f --; }
holes "first of a cluster, filled" 16 16 fill
holes "inside of a cluster, filled" 20 23 fill
holes "whole cluster, filled" 16 31 fill
holes "before the last ones, emptied" 32 34 drain
holes "first of a cluster, emptied" 16 18 drain

finish
