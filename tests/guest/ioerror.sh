#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device that cannot read some of its blocks (dm-dust): the error reaches whoever asks for these bytes
# and nobody else, and is gone when the device can read them again.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
modprobe dm-dust || exit 1

make_fs /dev/ram0 128M -b 4096
mount -t ext4 /dev/ram0 "$MNT" || exit 1
mkdir "$MNT/dir" "$MNT/other"
for ((i = 0; i < 300; i++)); do echo "$i" >"$MNT/dir/a-file-with-quite-a-long-name-$i"; done
echo other >"$MNT/other/file"
head -c 8M /dev/urandom >"$MNT/data"
head -c 100k /dev/urandom >"$MNT/short"
setfattr -n user.long -v "$(head -c 1500 /dev/zero | tr '\0' x)" "$MNT/short"
sum=$(sha256sum <"$MNT/data")
umount "$MNT"

# block PATH N: where block N of a file is.
block() { debugfs -R "bmap $1 $2" /dev/ram0 2>/dev/null; }

dmsetup create dust --table "0 $((128 * 2048)) dust /dev/ram0 0 4096" && dmsetup mknodes || exit 1
dust() { dmsetup message dust 0 "$@" >/dev/null; }
dust enable

# fails COMMAND...: ok if it fails by an I/O error.
fails() {
	local out
	out=$("$@" 2>&1 >/dev/null) && return 1
	[[ $out = *'Input/output error'* ]] || { echo "$out"; return 1; }
}
# with_bad BLOCK NAME COMMAND...: on a fresh mount with that block bad, and once more with it good again.
with_bad() {
	local bad=$1 name=$2
	shift 2
	dust addbadblock "$bad"
	check "$name: mount" mount -t "$FSTYPE" -o ro /dev/mapper/dust "$MNT" || return
	check "$name: EIO" fails "$@"
	equal "$name: the rest is there" "$(cat "$MNT/other/file")" other
	dust removebadblock "$bad"
	check "$name: the block can be read again" "$@"
	umount "$MNT"
}
read_at() { dd if="$1" of=/dev/null bs=4096 skip="$2" count=1 "${@:3}" status=none; }

with_bad "$(block data 1024)" "data" read_at "$MNT/data" 1024
with_bad "$(block data 0)" "first block" read_at "$MNT/data" 0
with_bad "$(block short 24)" "last block" read_at "$MNT/short" 24
with_bad "$(block data 1024)" "direct" read_at "$MNT/data" 1024 iflag=direct
with_bad "$(block data 1024)" "whole file" cksum "$MNT/data"
with_bad "$(block dir 1)" "directory" ls "$MNT/dir"
with_bad "$(block dir 0)" "index root" ls "$MNT/dir"
with_bad "$(debugfs -R 'stat short' /dev/ram0 2>/dev/null | sed -n 's/.*File ACL: \([0-9]*\).*/\1/p')" "attributes" \
	getfattr --absolute-names -n user.long "$MNT/short"

# Only the blocks around the bad one are missed, and none of them is wrong.
bad=$(block data 1024)
dust addbadblock "$bad"
mount -t "$FSTYPE" -o ro /dev/mapper/dust "$MNT" || not_ok "mount"
missed=0
for ((i = 0; i < 2048; i += 32)); do
	dd if="$MNT/data" bs=4k skip="$i" count=32 status=none of="$WORK/part" 2>/dev/null || missed=$((missed + 1))
done
check "reads in turn: a window or two are missed ($missed)" test "$((missed == 1 || missed == 2))" = 1
dust removebadblock "$bad"
equal "the whole file after all" "$(sha256sum <"$MNT/data")" "$sum"
umount "$MNT"

dmsetup remove dust

# Metadata that could not be written, without a journal: what is in memory is newer than the disk, and counts.
write_errors() {
	local sectors=$((64 * 2048)) i
	table() { dmsetup suspend --noflush --nolockfs flaky && dmsetup load flaky --table "$1" && dmsetup resume flaky; }
	modprobe dm-flakey || return
	make_fs /dev/ram1 64M -t ext4 -b 4096 -O ^has_journal
	dmsetup create flaky --table "0 $sectors linear /dev/ram1 0" && dmsetup mknodes || return
	mount -t "$FSTYPE" /dev/mapper/flaky "$MNT" && mkdir "$MNT/dir" || return
	sync -f "$MNT"
	for ((i = 0; i < 60; i++)); do : >"$MNT/dir/name-$i"; done
	chmod 640 "$MNT/dir"/name-*
	table "0 $sectors flakey /dev/ram1 0 0 3600 1 error_writes" || not_ok "writes that fail" "no such table"
	check "writes that fail: said so" fails sync -f "$MNT"
	table "0 $sectors linear /dev/ram1 0"
	# Names and inodes go from memory, their blocks stay.
	echo 2 >/proc/sys/vm/drop_caches
	# shellcheck disable=SC2012
	equal "writes that fail: names" "$(ls -U "$MNT/dir" | wc -l)" 60
	equal "writes that fail: inodes" "$(stat -c %a "$MNT/dir"/name-* | sort -u)" 640
	check "writes that fail: goes on" mkdir "$MNT/dir/more"
	umount "$MNT"
	dmsetup remove flaky
}
write_errors || not_ok "writes that fail" "no device"
finish
