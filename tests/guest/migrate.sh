#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# EXT4_IOC_MIGRATE and chattr +e: files of ext3 get extent trees, and their data stays where it is.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

# places FILE: the blocks of a file, one by one, with their places.
places() {
	filefrag -v -b1024 "$1" | awk -F'[:. ]+' '$2 ~ /^[0-9]+$/ && $3 ~ /^[0-9]+$/ {
		for (i = 0; i < $7; i++) print $3 + i, $5 + i
	}'
}
extents() { lsattr -d "$1" | cut -d ' ' -f 1 | grep -c e; }

on "migrate" -b 1024 -O ^extents,^64bit -N 4096
free_blocks() { stat -f -c %f "$MNT"; }
: >"$MNT/empty"
echo text >"$MNT/small"
dd if=/dev/urandom of="$MNT/large" bs=64k count=90 status=none
truncate -s 70m "$MNT/sparse"
for at in 0 5 11 12 13 267 268 269 1000 60000 66000 70000; do
	dd if=/dev/urandom of="$MNT/sparse" bs=1k count=3 seek=$at conv=notrunc status=none
done
commands=()
for ((i = 0; i < 700; i++)); do
	commands+=(-c "pwrite -q -S $((i % 250 + 1)) $((i * 3))k 1k")
done
xfs_io -f "${commands[@]}" "$MNT/holes"
mkdir "$MNT/dir"
(cd "$MNT/dir" && seq -f 'name-with-some-length-%g' 600 | xargs touch)
names=$(cd "$MNT/dir" && find . | sort | md5sum)
umount "$MNT"
tune2fs -O extents /dev/ram0 >/dev/null 2>&1 || not_ok "tune2fs" "cannot set the feature"
mount -t "$FSTYPE" /dev/ram0 "$MNT" || exit 1

files=(empty small large sparse holes)
sums=$(cd "$MNT" && md5sum "${files[@]}")
for f in "${files[@]}"; do
	places "$MNT/$f" >"$WORK/before"
	before=$(stat -c %b "$MNT/$f")
	equal "$f: an indirect map" "$(extents "$MNT/$f")" 0
	check "$f: EXT4_IOC_MIGRATE" fsioctl migrate "$MNT/$f"
	equal "$f: an extent tree" "$(extents "$MNT/$f")" 1
	places "$MNT/$f" >"$WORK/after"
	check "$f: data is where it was ($(wc -l <"$WORK/before") blocks)" cmp "$WORK/before" "$WORK/after"
	check "$f: space ($before, $(stat -c %b "$MNT/$f"))" test "$(stat -c %b "$MNT/$f")" -le "$before"
done
check "a directory" fsioctl migrate "$MNT/dir"
equal "its names" "$(cd "$MNT/dir" && find . | sort | md5sum)" "$names"
touch "$MNT/dir/another" && rm "$MNT/dir/another"
equal "contents" "$(cd "$MNT" && md5sum "${files[@]}")" "$sums"
clean "migrated"
equal "contents from disk" "$(cd "$MNT" && md5sum "${files[@]}")" "$sums"

# They can be written like any other.
dd if=/dev/urandom of="$MNT/holes" bs=1k count=50 seek=100 conv=notrunc status=none
truncate -s 1m "$MNT/sparse"
dd if=/dev/urandom of="$MNT/large" bs=64k count=90 oflag=append conv=notrunc status=none
rm "$MNT/small"
sums=$(cd "$MNT" && md5sum large sparse holes)
clean "written to"
umount "$MNT"
mount -t ext4 -o ro /dev/ram0 "$MNT"
equal "what C ext4 reads" "$(cd "$MNT" && md5sum large sparse holes)" "$sums"
umount "$MNT"
mount -t "$FSTYPE" /dev/ram0 "$MNT"

# No space for the whole tree: what has been built is undone.
on "no space" -b 1024 -O ^extents,^64bit -N 256 -m 0
xfs_io -f "${commands[@]}" "$MNT/holes"
sum=$(md5sum <"$MNT/holes")
umount "$MNT"
tune2fs -O extents /dev/ram0 >/dev/null 2>&1
mount -t "$FSTYPE" /dev/ram0 "$MNT" || exit 1
dd if=/dev/zero of="$MNT/filler" bs=64k status=none 2>/dev/null
dd if=/dev/zero of="$MNT/filler" bs=1k oflag=append conv=notrunc status=none 2>/dev/null
sync
for keep in 0 1 2 3; do
	truncate -s -${keep}k "$MNT/filler"
	sync
	out=$(fsioctl migrate "$MNT/holes" 2>&1) && not_ok "with $keep blocks more" "has worked"
	equal "with $keep blocks more" "${out##*: }" "No space left on device"
done
equal "the map stays as it was" "$(extents "$MNT/holes")" 0
equal "and the contents" "$(md5sum <"$MNT/holes")" "$sum"
clean "undone"
rm "$MNT/filler"
sync
check "with space" fsioctl migrate "$MNT/holes"
equal "contents then" "$(md5sum <"$MNT/holes")" "$sum"
clean "done"

# The flag that says so can be set, and be taken away from a file that is small: what both drivers make of it.
flags() { # flags TYPE
	local f
	is_mounted "$MNT" && umount "$MNT"
	make_fs /dev/ram0 64M -t ext4 -b 1024 -O ^extents,^64bit
	mount -t "$1" /dev/ram0 "$MNT"
	: >"$MNT/empty"
	seq 2000 >"$MNT/small"
	seq 20000 >"$MNT/large"
	xfs_io -f -c "pwrite -q 2k 1k" -c "pwrite -q 7k 1k" -c "truncate 9000" "$MNT/holes"
	mkdir "$MNT/dir" && touch "$MNT/dir/name"
	chattr +i "$MNT/empty"
	umount "$MNT"
	tune2fs -O extents /dev/ram0 >/dev/null 2>&1
	mount -t "$1" /dev/ram0 "$MNT"
	mext flags "$MNT/empty" +e 2>&1
	chattr -i "$MNT/empty"
	fallocate -l 3k "$MNT/unwritten"
	for how in +e -e +e; do
		for f in empty small large holes dir unwritten; do
			out=$(mext flags "$MNT/$f" $how 2>&1)
			echo "$f $how: ${out##*: }, $(extents "$MNT/$f")"
		done
		(cd "$MNT" && md5sum small large holes unwritten && ls dir)
	done
	mext flags "$MNT/small" -e && echo more >>"$MNT/small" && truncate -s 5m "$MNT/small"
	chattr +d "$MNT/large" && echo more >>"$MNT/large" && md5sum <"$MNT/large"
	umount "$MNT"
	e2fsck -fn /dev/ram0 >/dev/null 2>&1 && echo clean
	mount -t "$1" /dev/ram0 "$MNT"
	(cd "$MNT" && md5sum small large holes unwritten && ls dir)
}
flags ext4 >"$WORK/c"
flags "$FSTYPE" >"$WORK/r"
check "chattr +e and -e as C ext4 ($(wc -l <"$WORK/r") lines)" diff "$WORK/c" "$WORK/r"
check "chattr +e" grep -q "^large +e: , 1" "$WORK/r"
check "chattr -e" grep -q "^small -e: , 0" "$WORK/r"
check "chattr -e, refused" grep -q "^large -e: Operation not supported, 1" "$WORK/r"
check "all of it clean" grep -qx clean "$WORK/r"

# A block bitmap that has the tables of the file free, and nothing else: the tree does not come to be there.
reserve_nothing() { echo 0 >"/sys/fs/$FSTYPE/ram0/reserved_clusters"; }
size=7M on "crafted" -b 1024 -O ^extents,^64bit -N 64 -m 0
xfs_io -f "${commands[@]}" "$MNT/holes"
sum=$(md5sum <"$MNT/holes")
umount "$MNT"
tune2fs -O extents /dev/ram0 >/dev/null 2>&1
mount -t "$FSTYPE" /dev/ram0 "$MNT"
reserve_nothing
dd if=/dev/zero of="$MNT/filler" bs=64k status=none 2>/dev/null
dd if=/dev/zero of="$MNT/filler" bs=1k oflag=append conv=notrunc status=none 2>/dev/null
umount "$MNT"
tables=$(debugfs -R "stat /holes" /dev/ram0 2>/dev/null | grep -oE '\((IND|DIND|TIND)\):[0-9]+' | cut -d : -f 2)
free=$(dumpe2fs -h /dev/ram0 2>/dev/null | sed -n 's/^Free blocks: *//p')
{
	for block in $tables; do echo "freeb $block"; done
	echo "set_bg 0 free_blocks_count $((free + $(wc -w <<<"$tables")))"
	echo "set_bg 0 checksum calc"
} | debugfs -w -f - /dev/ram0 >/dev/null 2>&1
mount -t "$FSTYPE" /dev/ram0 "$MNT"
reserve_nothing
out=$(fsioctl migrate "$MNT/holes" 2>&1)
equal "$(wc -w <<<"$tables") tables that are free, and $free other blocks" "${out##*: }" "Structure needs cleaning"
equal "said" "$(dmesg | grep -c 'a table that the block bitmap has free')" 1
echo 3 >/proc/sys/vm/drop_caches
equal "contents then" "$(md5sum <"$MNT/holes")" "$sum"
equal "the map is what it was" "$(extents "$MNT/holes")" 0
on "errors" -b 1024 -O ^extents,^64bit
touch "$MNT/holes"
umount "$MNT"
tune2fs -O extents /dev/ram0 >/dev/null 2>&1
mount -t "$FSTYPE" /dev/ram0 "$MNT"
fsioctl migrate "$MNT/holes"

# Errors.
refused() { # NAME TEXT COMMAND...
	local name=$1 text=$2 out
	shift 2
	out=$("$@" 2>&1) && not_ok "$name" "has worked"
	equal "$name" "${out##*: }" "$text"
}
refused "one that has a tree" "Invalid argument" fsioctl migrate "$MNT/holes"
touch "$MNT/other"
# It is the file that is refused, not the way to it.
chmod 755 "$WORK" "$MNT"
refused "of somebody else" "Permission denied" setpriv --reuid 65534 --clear-groups fsioctl migrate "$MNT/other"
mount -o remount,ro "$MNT"
refused "read-only" "Read-only file system" fsioctl migrate "$MNT/holes"
on "without extents" -b 1024 -O ^extents,^64bit
touch "$MNT/f"
refused "without the feature" "Invalid argument" fsioctl migrate "$MNT/f"
finish
