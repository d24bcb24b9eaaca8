#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# EXT4_IOC_CHECKPOINT: what is in the journal is written to its place, and the journal overwritten, so that names that
# were removed are nowhere on the device; each answer is C ext4's.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
secret=never-to-be-seen-again

# found: whether the name is anywhere in the file system's blocks.
found() { [ "$(dd if=/dev/ram0 bs=1M count=64 iflag=direct status=none | grep -ac $secret)" -gt 0 ]; }
# log_bytes: of an internal journal, those behind its superblock that are not 0.
log_bytes() { debugfs -R 'cat <8>' /dev/ram0 2>/dev/null | tail -c +$((bs + 1)) | tr -d '\0' | wc -c; }

for bs in 4096 1024; do
	for type in ext4 "$FSTYPE"; do
		make_fs /dev/ram0 64M -t ext4 -b $bs
		mount -t "$type" /dev/ram0 "$MNT"
		mkdir "$MNT/d"
		for i in 1 2 3 4 5 6 7 8; do echo "$i" >"$MNT/d/$secret-$i"; done
		sync -f "$MNT"
		check "$bs, $type: the journal has the names" found
		rm "$MNT/d/$secret-"*
		sync -f "$MNT"
		fsioctl checkpoint "$MNT/d" >"$WORK/said.$type"
		equal "$bs, $type: bytes in the journal" "$(log_bytes)" 0
		sync -f "$MNT"
		found && not_ok "$bs, $type: names are gone" "one is still there" || ok "$bs, $type: names are gone"
		# It goes on being a journal.
		echo more >"$MNT/d/more"
		sync -f "$MNT"
		[ "$(log_bytes)" -gt 0 ] && ok "$bs, $type: is written to again" || not_ok "$bs, $type: is written to again" "it is not"
		xfs_io -x -c "shutdown" "$MNT"
		umount "$MNT"
		mount -t "$type" /dev/ram0 "$MNT"
		equal "$bs, $type: recovered" "$(cat "$MNT/d/more")" more
		umount "$MNT"
		check "$bs, $type: e2fsck" e2fsck -fn /dev/ram0
	done
	check "$bs: answers" diff "$WORK/said.ext4" "$WORK/said.$FSTYPE"
	check "$bs: the answers" grep -q 'zeroed=ok' "$WORK/said.$FSTYPE"
done

make_fs /dev/ram0 16M -t ext4 -O ^has_journal
for type in ext4 "$FSTYPE"; do
	mount -t "$type" /dev/ram0 "$MNT"
	fsioctl checkpoint "$MNT" >"$WORK/said.$type"
	umount "$MNT"
done
check "no journal: answers" diff "$WORK/said.ext4" "$WORK/said.$FSTYPE"

make_fs /dev/ram0 16M -t ext4
chmod 755 "$WORK"
mount -t "$FSTYPE" /dev/ram0 "$MNT"
for type in ext4 "$FSTYPE"; do
	umount "$MNT"
	mount -t "$type" /dev/ram0 "$MNT"
	setpriv --reuid 65534 --clear-groups fsioctl checkpoint "$MNT" >"$WORK/said.$type"
done
check "somebody else: answers" diff "$WORK/said.ext4" "$WORK/said.$FSTYPE"
check "somebody else: the answers" grep -q 'empty=EPERM' "$WORK/said.$FSTYPE"
finish
