#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the device is used for (FS_IOC_GETFSMAP), as C ext4 tells it; and data that is given its blocks
# at once (EXT4_IOC_ALLOC_DA_BLKS).

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

# told TYPE DEVICE [OPTIONS]: by the driver of that type.
told() {
	mount -t "$1" -o "${3:-defaults}" "$2" "$MNT" || return 1
	xfs_io -r -c 'fsmap -vvv' "$MNT" 2>&1
	# From the middle, and to the middle: in bytes.
	xfs_io -r -c 'fsmap -d 33554432 50331647' "$MNT" 2>&1
	# Few at a time.
	xfs_io -r -c 'fsmap -n 7' "$MNT" 2>&1
	umount "$MNT"
}
same() { # same NAME DEVICE [OPTIONS]
	local c r
	c=$(told ext4 "$2" "${3:-}")
	r=$(told "$FSTYPE" "$2" "${3:-}")
	if [ "$c" = "$r" ] && [ "$(wc -l <<<"$c")" -gt 10 ]; then
		ok "$1 ($(wc -l <<<"$r") lines)"
	else
		not_ok "$1" "differs"
		diff <(echo "$c") <(echo "$r") | head -n 12 | sed 's/^/#   /'
	fi
}

# (With sparse_super2 C ext4 leaves out a range of used blocks at the end of a group.)
n=0
while IFS='|' read -r name arguments; do
	n=$((n + 1))
	# shellcheck disable=SC2086
	size=96M on "$name" $arguments
	for i in $(seq 20); do
		head -c $((i * 5100)) /dev/zero >"$MNT/f$i"
	done
	mkdir "$MNT/d" && cp -r /src/tests/guest "$MNT/d"
	rm "$MNT"/f*5
	umount "$MNT"
	same "$name" /dev/ram0
	[ $n -gt 2 ] || same "$name, read-only" /dev/ram0 ro
done <<'FORMATS'
default|-b 4096
1k|-b 1024
without flex groups|-b 1024 -O ^flex_bg
descriptors in meta groups|-b 1024 -O meta_bg,^resize_inode
clusters|-b 4096 -O bigalloc -C 16384
revision 1 without features|-b 1024 -O none
FORMATS

# With a journal on a device of its own.
blkdiscard -f /dev/ram1 2>/dev/null
if mke2fs -q -F -b 4096 -O journal_dev /dev/ram1 16M && make_fs /dev/ram0 96M -t ext4 -b 4096 -J device=/dev/ram1; then
	same "an external journal" /dev/ram0
else
	not_ok "an external journal" "cannot be made"
fi

# Arguments.
on "arguments" -b 4096
sync
umount "$MNT"
for type in ext4 "$FSTYPE"; do
	mount -t "$type" /dev/ram0 "$MNT"
	fsioctl fsmap "$MNT" >"$WORK/arguments.$type"
	umount "$MNT"
done
tr ' ' '\n' <"$WORK/arguments.ext4" >"$WORK/want"
check "arguments of FS_IOC_GETFSMAP" diff "$WORK/want" <(tr ' ' '\n' <"$WORK/arguments.$FSTYPE")
check "some of which are refused" test "$(grep -c EINVAL "$WORK/want")" -ge 8

mount -t "$FSTYPE" /dev/ram0 "$MNT"
dd if=/dev/zero of="$MNT/delayed" bs=64k count=4 status=none
delayed() { filefrag -v "$MNT/delayed" | grep -c delalloc; }
check "data is delayed" test "$(delayed)" -gt 0
check "EXT4_IOC_ALLOC_DA_BLKS" fsioctl alloc "$MNT/delayed"
equal "not any more" "$(delayed)" 0
equal "it has blocks" "$(stat -c %b "$MNT/delayed")" 512
check "and gets none a second time" fsioctl alloc "$MNT/delayed"
su_nobody=$(setpriv --reuid 65534 --clear-groups bash -c "fsioctl alloc '$MNT/delayed'" 2>&1)
check "only by its owner (${su_nobody##*: })" grep -q "Permission denied" <<<"$su_nobody"
finish
