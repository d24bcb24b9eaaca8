#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The extent status cache: what has been asked for once is known without the device, and a block map that
# leads in circles does not fill the memory.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
modprobe dm_mod

make_fs /dev/ram0 128M -t ext4 -b 1024
mount -t ext4 /dev/ram0 "$MNT" || exit 1
fill --seed "$SEED" --only extents --extents 3000 "$MNT" >/dev/null
umount "$MNT"
file=$MNT/extents/deep
dmsetup create whole --table "0 $((128 * 2048)) linear /dev/ram0 0" && dmsetup mknodes || exit 1
device_is() {
	dmsetup suspend whole && dmsetup reload whole --table "0 $((128 * 2048)) $1" && dmsetup resume whole
}
extents() { xfs_io -r -c fiemap "$file" 2>&1; }

mount -t "$FSTYPE" -o ro /dev/mapper/whole "$MNT" || exit 1
known=$(extents)
umount "$MNT"
check "a file of many extents ($(wc -l <<<"$known") lines)" test "$(wc -l <<<"$known")" -gt 3000

# cached COMMAND...: whether the whole block map is in memory after the command.
cached() {
	local after
	mount -t "$FSTYPE" -o ro /dev/mapper/whole "$MNT" || return 2
	exec 5<"$file"
	"$@" >/dev/null 2>&1
	# The metadata blocks leave the memory; the inode does not, it is open.
	echo 1 >/proc/sys/vm/drop_caches
	device_is error
	after=$(extents)
	device_is "linear /dev/ram0 0"
	exec 5<&-
	umount "$MNT"
	[ "$after" = "$known" ]
}
cached true && not_ok "nobody asked" "and yet the map is in memory: what follows proves nothing" ||
	ok "a block map that nobody has asked for is not in memory"
check "EXT4_IOC_PRECACHE_EXTENTS" cached fsioctl precache "$file"
check "FIEMAP_FLAG_CACHE" cached fsioctl cache "$file"
check "a full look" cached xfs_io -r -c fiemap "$file"
dmsetup remove whole

# A block of pointers that all lead to itself, as the double indirect block: a million ranges, none of
# which continues another. A range takes some 30 bytes at least.
make_fs /dev/ram0 64M -t ext2 -b 4096
mount -t ext4 /dev/ram0 "$MNT" || exit 1
head -c 100k /dev/urandom >"$MNT/circle"
umount "$MNT"
block=$(debugfs -R 'bmap circle 5' /dev/ram0 2>/dev/null)
perl -e 'print pack("V", $ARGV[0]) x 1024' "$block" | dd of=/dev/ram0 bs=4096 seek="$block" conv=notrunc status=none
debugfs -w -R "sif circle block[DIND] $block" /dev/ram0 2>/dev/null
debugfs -w -R "sif circle size $(((12 + 1024 + 1024 * 1024) * 4096))" /dev/ram0 2>/dev/null
slab() { awk '$1 == "Slab:" {print $2}' /proc/meminfo; }
mount -t "$FSTYPE" -o ro /dev/ram0 "$MNT" || exit 1
stat "$MNT/circle" >/dev/null
echo 3 >/proc/sys/vm/drop_caches
before=$(slab)
equal "a map in circles has an end" "$(timeout 300 xfs_io -r -c "seek -h $((1036 * 4096))" "$MNT/circle" 2>&1 | tail -n 1 | tr -d ' ' | tr '\t' ' ')" \
	"HOLE $(((12 + 1024 + 1024 * 1024) * 4096))"
after=$(slab)
check "and takes little memory ($((after - before)) KiB)" test $((after - before)) -lt 8192
umount "$MNT"
finish
