#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Writes that are not to be torn (RWF_ATOMIC), on a device that can do that (scsi_debug): which there are, what else
# is refused, what C ext4 says to the same, and that the device is asked for it.

. "$(dirname "$0")/lib.sh"

load_drivers
modprobe sd_mod
if ! modprobe scsi_debug dev_size_mb=128 delay=0 sector_size=512 physblk_exp=3 atomic_wr=1; then
	skip untorn "no scsi_debug with atomic_wr"
	finish
	exit
fi
udevadm settle 2>/dev/null
for _ in $(seq 50); do
	device=$(basename "$(ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/* 2>/dev/null)" 2>/dev/null)
	[ -b "/dev/$device" ] && break
	sleep 0.1
done
max=$(cat "/sys/block/$device/queue/atomic_write_unit_max_bytes" 2>/dev/null)
if [ "${max:-0}" -lt 4096 ]; then
	skip untorn "the device has no atomic writes: [$max]"
	modprobe -r scsi_debug
	finish
	exit
fi
tracing=/sys/kernel/tracing
mount -t tracefs none $tracing 2>/dev/null
file=$MNT/file

units() { xfs_io -c 'statx -r -m 0x10000' "$1" | grep atomic_write; }
# What is said to a write: FLAGS OFFSET LENGTH BYTE.
says() { xfs_io "$1" -c "pwrite -A -V 1 -q -b $3 -S $4 $2 $3" "$file" 2>&1 | sed 's/^pwrite: //'; }
# The same of both: units, and what is said to each write.
answers() {
	local flags offset length byte=97
	xfs_io -f -c 'pwrite -q -S 0x61 0 64k' -c 'falloc 64k 64k' -c 'truncate 1m' -c fsync "$file"
	units "$file"
	while read -r flags offset length; do
		byte=$((byte + 1))	# of each its own
		echo "$flags $offset $length: $(says "$flags" "$offset" "$length" $byte)"
		cmp -s <(tail -c +$((offset + 1)) "$file" | head -c "$length") \
			<(head -c "$length" /dev/zero | tr '\0' "\\$(printf %o $byte)") && echo written
	done <<-LIST
	-d 0 $block
	-d $block $block
	-d 65536 $block
	-d 131072 $block
	-d 1048576 $block
	-d 512 $block
	-d 0 512
	-d 0 $((block * 2))
	-d 0 1048576
	-s 0 $block
	LIST
}

for block in 4096 1024; do
	for driver in ext4 "$FSTYPE"; do
		mke2fs -q -F -t ext4 -b $block "/dev/$device" >"$WORK/mke2fs" 2>&1 || not_ok mkfs "$(tail -n 1 "$WORK/mke2fs")"
		dmesg -C
		mount -t "$driver" "/dev/$device" "$MNT" || { not_ok "$block, $driver" "does not mount"; continue; }
		answers >"$WORK/$driver" 2>&1
		dmesg | grep -o 'Supports .*awu_min.*' >>"$WORK/$driver"
		umount "$MNT"
		check "$block, $driver, e2fsck" e2fsck -fn "/dev/$device"
	done
	sed 's/^/#   /' "$WORK/ext4" | head -n 3
	check "$block, what C ext4 answers" diff "$WORK/ext4" "$WORK/$FSTYPE"
	equal "$block, blocks that were written" "$(grep -c '^written' "$WORK/$FSTYPE")" 5
done

# The device is asked, and has what was written.
mke2fs -q -F -t ext4 -b 4096 "/dev/$device"
mount -t "$FSTYPE" "/dev/$device" "$MNT"
xfs_io -f -c 'pwrite -q -S 0x61 0 64k' -c 'falloc 64k 64k' -c 'truncate 1m' -c fsync "$file"
echo 1 >$tracing/events/block/block_rq_issue/enable
for at in 4096 65536 131072 1048576; do
	: >$tracing/trace
	check "untorn at $at" xfs_io -d -c "pwrite -A -V 1 -q -b 4k -S 0x62 $at 4k" "$file"
	# W, and U for untorn.
	equal "untorn at $at, as the device is asked" "$(grep -c ' WS*U*[A-Z]*U[A-Z]* 4096 ' $tracing/trace)" 1
done
: >$tracing/trace
check "any other" xfs_io -d -c 'pwrite -V 1 -q -b 4k -S 0x63 8k 4k' "$file"
equal "any other, as the device is asked" "$(grep -c ' W[A-Z]*U[A-Z]* ' $tracing/trace)" 0
echo 0 >$tracing/events/block/block_rq_issue/enable
# A file whose contents are in the inode, or have pointers, or a page that is dirty.
check "a dirty page in the way" xfs_io -d -c 'mmap -rw 0 4k' -c 'mwrite -S 0x64 0 100' -c 'pwrite -A -V 1 -q -b 4k -S 0x65 0 4k' "$file"
check "a part of a block" xfs_io -f -c 'pwrite -q 0 512' "$MNT/part"
equal "appended to a part of a block" "$(file=$MNT/part says -da 0 4096 98)" "Invalid argument"
check "a dirty page in the way, contents" cmp <(head -c 4096 "$file") <(head -c 4096 /dev/zero | tr '\0' e)
umount "$MNT"
check "untorn, e2fsck" e2fsck -fn "/dev/$device"
for features in inline_data ^extents; do
	mke2fs -q -F -t ext4 -b 4096 -O $features "/dev/$device"
	mount -t "$FSTYPE" "/dev/$device" "$MNT"
	xfs_io -f -c 'pwrite -q 0 50' "$file"
	equal "$features" "$(says -d 0 4096 98)" "Operation not supported"
	umount "$MNT"
	check "$features, e2fsck" e2fsck -fn "/dev/$device"
done
is_mounted $tracing && umount $tracing
modprobe -r scsi_debug
finish
