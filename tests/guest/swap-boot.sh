#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# EXT4_IOC_SWAP_BOOT: a file and the boot loader's inode exchange their contents.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks

sum() { md5sum <"$1" | cut -d ' ' -f 1; }
# boot_sum: what the boot loader's inode has, of a file system that is not mounted.
boot_sum() { debugfs -R "cat <5>" /dev/ram0 2>/dev/null | md5sum | cut -d ' ' -f 1; }
swap() { mext boot "$MNT/${1:-file}" 2>&1 | sed 's/.*: //'; }

# What both drivers make of the same.
story() { # story TYPE MKFS...
	local type=$1
	shift
	is_mounted "$MNT" && umount "$MNT"
	make_fs /dev/ram0 64M -t ext4 "$@"
	mount -t "$type" /dev/ram0 "$MNT" >/dev/null || return 1
	seq 3000 >"$MNT/file"
	chmod 640 "$MNT/file"
	chown 12:34 "$MNT/file"
	setfattr -n user.colour -v green "$MNT/file"
	touch -d @1000000000 "$MNT/file"
	echo "never used: $(swap)"
	stat -c '%s %b %h %a %u %g' "$MNT/file"
	# That inode has had no times before.
	for time in %X %Y; do
		echo "$time: $(($(stat -c $time "$MNT/file") / 100 - $(date +%s) / 100))" | sed 's/-1$/0/'
	done
	seq 500 >"$MNT/file"
	touch -d @1100000000 "$MNT/file"
	umount "$MNT"
	e2fsck -fn /dev/ram0 >/dev/null 2>&1 && echo clean
	boot_sum
	debugfs -R "stat <5>" /dev/ram0 2>/dev/null | grep -oE 'Mode: *[0-9]*|User: *[0-9]*|Group: *[0-9]*|Links: [0-9]*|Blockcount: [0-9]*|Size: [0-9]*|Flags: 0x[0-9a-f]*'
	mount -t "$type" /dev/ram0 "$MNT" >/dev/null || return 1
	echo "used: $(swap)"
	stat -c '%s %b %h %a %u %g %X %Y' "$MNT/file"
	getfattr -d "$MNT/file" 2>/dev/null | grep user
	sum "$MNT/file"
	echo "and back: $(swap)"
	sum "$MNT/file"
	echo more >>"$MNT/file"
	ln "$MNT/file" "$MNT/other"
	echo "two names: $(swap)"
	rm "$MNT/other"
	mknod "$MNT/fifo" p
	chattr +a "$MNT/file"
	echo "protected: $(swap)"
	chattr -a "$MNT/file"
	chown 65534 "$MNT/file"
	echo "not root: $(setpriv --reuid 65534 --clear-groups mext boot "$MNT/file" 2>&1 | sed 's/.*: //')"
	printf tiny >"$MNT/tiny"
	sync
	echo "tiny: $(swap tiny)"
	sum "$MNT/tiny"
	umount "$MNT"
	e2fsck -fn /dev/ram0 >/dev/null 2>&1 && echo clean
	boot_sum
}
for features in default ^extents,^64bit ^metadata_csum,^64bit inline_data; do
	args=()
	[ "$features" = default ] || args=(-O "$features")
	story ext4 "${args[@]}" >"$WORK/c" 2>&1
	story "$FSTYPE" "${args[@]}" >"$WORK/r" 2>&1
	check "$features: as C ext4 ($(wc -l <"$WORK/r") lines)" diff "$WORK/c" "$WORK/r"
	equal "$features: clean" "$(grep -cx clean "$WORK/r")" 2
	equal "$features: has worked" "$(grep -cE '^(never used|used|and back): $' "$WORK/r")" 3
done

# A map of many nodes, whose checksums say whose they are; attributes in a block, which stay.
deep() { # deep NAME MKFS...
	local name=$1 old version
	shift
	on "$name" "$@"
	dd if=/dev/urandom of="$MNT/file" bs=64k count=10 status=none
	# Many pieces, whose tree does not fit the inode.
	for ((i = 0; i < 640; i += 4)); do
		echo fpunch ${i}k 1k
	done | xfs_io "$MNT/file" >/dev/null
	setfattr -n user.long -v "$(printf 'x%.0s' {1..400})" "$MNT/file"
	check "$name: a tree of nodes" test "$(xfs_io -r -c fiemap "$MNT/file" | grep -c hole)" -gt 100
	old=$(sum "$MNT/file")
	version=$(lsattr -v "$MNT/file" | cut -d ' ' -f 1)
	equal "$name: exchanged" "$(swap)" ""
	equal "$name: an empty file" "$(stat -c %s "$MNT/file")" 0
	check "$name: another generation" test "$(lsattr -v "$MNT/file" | cut -d ' ' -f 1)" != "$version"
	echo other >"$MNT/file"
	umount "$MNT"
	check "$name: clean" e2fsck -fn /dev/ram0
	equal "$name: the boot loader's" "$(boot_sum)" "$old"
	mount -t "$FSTYPE" /dev/ram0 "$MNT"
	equal "$name: back" "$(swap)" ""
	equal "$name: contents" "$(sum "$MNT/file")" "$old"
	dd if=/dev/urandom of="$MNT/file" bs=4k count=3 seek=40 conv=notrunc status=none
	truncate -s 500k "$MNT/file"
	old=$(sum "$MNT/file")
	clean "$name: written to"
	equal "$name: contents from disk" "$(sum "$MNT/file")" "$old"
	equal "$name: attributes" "$(getfattr -n user.long --only-values "$MNT/file" 2>/dev/null | wc -c)" 400
	umount "$MNT"
	mount -t ext4 -o ro /dev/ram0 "$MNT"
	equal "$name: what C ext4 reads" "$(sum "$MNT/file")" "$old"
	umount "$MNT"
}
deep "deep" -b 1024
deep "deep, attribute blocks" -b 1024 -I 128
deep "deep, no journal" -b 1024 -O ^has_journal
deep "deep, bigalloc" -O bigalloc

# It is on disk when it is done: who writes to the blocks then does not write to the boot loader's.
on "crash" -b 4096
dd if=/dev/urandom of="$MNT/file" bs=64k count=10 status=none
sync
equal "crash: exchanged" "$(swap)" ""
dd if=/dev/urandom of="$MNT/file" bs=64k count=4 status=none
sync
second=$(sum "$MNT/file")
equal "crash: exchanged again" "$(swap)" ""
dd if=/dev/zero of="$MNT/file" bs=64k count=10 oflag=direct conv=notrunc status=none
fsprobe shutdown "$MNT" 2 >/dev/null
umount "$MNT"
mount -t "$FSTYPE" /dev/ram0 "$MNT"
clean "crash"
umount "$MNT"
equal "crash: the boot loader's" "$(boot_sum)" "$second"
mount -t "$FSTYPE" /dev/ram0 "$MNT"
check "crash: the first contents have gone, and nothing else" test "$(sum "$MNT/file")" != "$second"
equal "crash: size" "$(stat -c %s "$MNT/file")" 655360
mount -o remount,ro "$MNT"
equal "read-only" "$(swap)" "Read-only file system"
finish
