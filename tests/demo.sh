#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What `make run` does in the guest: C ext4 fills a disk, rext4 mounts it, and everything that can
# be seen of it is compared. Then rext4 changes names and inodes, and the two are compared again.
#
#     usage: demo.sh [DEVICE]          default /dev/vdb, which is overwritten
#     DEMO_FILES, DEMO_BIG             how many small files, MiB of the big one (30000, 128)
#     DEMO_CHANGES                     how many changes (5000)

. "$(dirname "$0")/guest/lib.sh"

dev=${1:-/dev/vdb}
files=${DEMO_FILES:-30000}
big=${DEMO_BIG:-128}
changes=${DEMO_CHANGES:-5000}
started=$EPOCHREALTIME
steps=9

# ms SINCE: milliseconds from an $EPOCHREALTIME.
ms() { echo $(((${EPOCHREALTIME/./} - ${1/./}) / 1000)); }
seconds() { printf '%d.%01d' $(($1 / 1000)) $(($1 % 1000 / 100)); }
step() { printf '\n[%d of %d, %s s] %s\n' "$1" "$steps" "$(seconds "$(ms "$started")")" "$2"; }
field() { grep -o "$1=[^ ]*" <<<"$2" | cut -d= -f2; }

cold() {
	sync
	[ ! -w /proc/sys/vm/drop_caches ] || echo 3 >/proc/sys/vm/drop_caches
}

# timed TYPE OPTIONS...: a quiet census after a fresh mount; sets $took and $last.
timed() {
	local type=$1 from
	shift
	cold
	mount -t "$type" -o ro "$dev" "$MNT" || exit 1
	from=$EPOCHREALTIME
	last=$(census --quiet --max-file 268435456 "$@" "$MNT")
	took=$(ms "$from")
	umount "$MNT"
}

step 1 "making an ext4 file system on $dev with mkfs.ext4's defaults"
mke2fs -q -F -t ext4 "$dev" 2>&1 || exit 1
dumpe2fs -h "$dev" 2>/dev/null | grep -E '^(Filesystem features|Block (count|size)|Inode (count|size)|Journal size|Total journal size):'

step 2 "C ext4 fills it: $files small files, every shape of directory, file and attribute, $big MiB in one file"
load_drivers
mount -t ext4 "$dev" "$MNT" || exit 1
fill --seed "$SEED" --names 2000 --extents 20000 --bulk "$files" --big "$big" "$MNT" || exit 1
umount "$MNT"

step 3 "$FSTYPE mounts it read-only"
log_mark
mount -t "$FSTYPE" -o ro "$dev" "$MNT" || { dmesg | tail -n 5; exit 1; }
log_since | grep -v guest-test
grep " $MNT " /proc/self/mounts
df -h "$MNT" | sed 's/^/    /'
df -i "$MNT" | tail -n 1 | sed 's/^/    /'
stat -c '%A %h %s %n' "$MNT"/* | sed 's/^/    /'
umount "$MNT"

walk=(--no-data --no-extents --no-handles --no-xattrs --no-cookies)
read=(--no-direct --no-mmap --no-sha --no-extents --no-handles --no-xattrs --no-cookies)
declare -A time
n=4
for type in ext4 "$FSTYPE"; do
	step $n "$type: walk the tree, read all of it, then look at everything"
	timed "$type" "${walk[@]}"
	time[$n-walk]=$took
	echo "    names and attributes of $(($(field files "$last") + $(field dirs "$last") + $(field symlinks "$last") + $(field others "$last"))) objects: $(seconds "$took") s"
	timed "$type" "${read[@]}"
	time[$n-read]=$took
	echo "    $(($(field bytes "$last") >> 20)) MiB of contents: $(seconds "$took") s"
	cold
	from=$EPOCHREALTIME
	census_of "$type" "$dev" "" "$WORK/census.$n" --max-file $((256 << 20)) || exit 1
	echo "    census: $(wc -l <"$WORK/census.$n") lines, $(($(stat -c %s "$WORK/census.$n") >> 20)) MiB of text: $(seconds "$(ms "$from")") s"
	all=$last
	n=$((n + 1))
done

step 6 "comparing: each object's attributes, xattrs, extents, holes, handle and position in its
    directory; SHA-256 of its contents by read(), and that mmap() and O_DIRECT give the same"
if cmp -s "$WORK/census.4" "$WORK/census.5"; then
	ok "C ext4 and $FSTYPE see the same in $(wc -l <"$WORK/census.4") lines"
else
	not_ok "comparison" "the two drivers differ"
	differences "$WORK/census.4" "$WORK/census.5"
fi

step 7 "e2fsck"
check "the file system is clean" e2fsck -fn "$dev"

step 8 "$FSTYPE mounts it for writing: $changes random changes of names, attributes and ACLs, and half of
    the small files are removed"
mount -w -t "$FSTYPE" "$dev" "$MNT" || { dmesg | tail -n 5; exit 1; }
from=$EPOCHREALTIME
check "changes" metaload --seed "$SEED" --ops "$changes" --names 2000 --log "$WORK/changes" "$MNT"
echo "    $changes operations: $(seconds "$(ms "$from")") s"
from=$EPOCHREALTIME
find "$MNT/bulk" -name '*[02468]' -type f -delete
sync -f "$MNT"
echo "    removing: $(seconds "$(ms "$from")") s, $(find "$MNT/bulk" -type f | wc -l) are left"
umount "$MNT"
check "the file system is clean" e2fsck -fn "$dev"

step 9 "C ext4 and $FSTYPE look at it once more"
for type in ext4 "$FSTYPE"; do
	census_of "$type" "$dev" "" "$WORK/census.$type" --max-file $((256 << 20)) || exit 1
done
if cmp -s "$WORK/census.ext4" "$WORK/census.$FSTYPE"; then
	ok "C ext4 and $FSTYPE see the same in $(wc -l <"$WORK/census.ext4") lines"
else
	not_ok "comparison" "the two drivers differ"
	differences "$WORK/census.ext4" "$WORK/census.$FSTYPE"
fi

echo
printf '%-34s %12s %12s\n' "" "C ext4" "$FSTYPE"
printf '%-34s %10s s %10s s\n' "walk (names, attributes), cold" "$(seconds "${time[4-walk]}")" "$(seconds "${time[5-walk]}")"
printf '%-34s %10s s %10s s\n' "read $(($(field bytes "$all") >> 20)) MiB, cold" "$(seconds "${time[4-read]}")" "$(seconds "${time[5-read]}")"
echo
echo "$(field files "$all") files, $(field dirs "$all") directories, $(field symlinks "$all") symlinks, $(field others "$all") devices, FIFOs and sockets; took $(seconds "$(ms "$started")") s"
grep '^statfs' "$WORK/census.5"
finish
