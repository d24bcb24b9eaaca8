#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Space: what is taken and freed, counted and kept back, on file systems of all kinds that are written; what
# becomes of damaged bitmaps.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
kunit=/sys/kernel/debug/kunit/rext4_space

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

# --- the allocator, driven by its KUnit suite ---

# suite NAME OPTIONS MKFS...: makes a file system that may be used, and runs the suite on it.
suite() {
	local name=$1 options=$2 wrong ran
	shift 2
	make_fs $dev 48M -L "rext4 KUnit" "$@" || {
		not_ok "suite, $name, mkfs" "failed"
		return
	}
	attach "suite, $name, mount" "$options" || return
	log_mark
	echo 1 >$kunit/run
	wrong=$(grep -cE '^ *not ok ' $kunit/results)
	ran=$(log_since | grep -cE 'rext4_space: [a-z]+ has run')
	if [ "$wrong" -eq 0 ] && [ "$ran" -eq "$(grep -cE '^ +ok ' $kunit/results)" ]; then
		ok "suite, $name"
	else
		not_ok "suite, $name" "$ran cases have run, $wrong lines say not ok"
		log_since | tail -n 15 | sed 's/^/#   /'
	fi
	umount "$MNT"
	clean "suite, $name, clean"
}

if [ -d $kunit ]; then
	suite "1k" "" -b 1024 -t ext4
	suite "1k, many groups" "" -b 1024 -g 1024 -t ext4
	suite "1k, no flex_bg" "" -b 1024 -g 1024 -t ext4 -O ^flex_bg
	suite "4k, meta_bg" "" -b 4096 -g 512 -t ext4 -O meta_bg,^resize_inode
	suite "bigalloc" "" -b 1024 -C 16384 -t ext4 -O bigalloc
	suite "uninit_bg" "" -b 1024 -g 2048 -t ext4 -O uninit_bg,^metadata_csum
	suite "no checksums, ext3" "" -b 1024 -t ext3
	suite "no journal" "" -b 1024 -g 1024 -t ext4 -O ^has_journal
fi

finish
