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

# --- inode tables that mkfs has not zeroed ---

# old_device SIZE: the device holds something else.
old_device() { tr '\0' '\252' </dev/zero | dd of=$dev bs=1M count="$1" iflag=fullblock status=none; }

# unzeroed: groups whose descriptor does not say that the table is zeroed.
unzeroed() { dumpe2fs $dev 2>/dev/null | grep '^Group [0-9]' | grep -vc ITABLE_ZEROED; }

# zeroed_in SECONDS: waits until all tables are zeroed.
zeroed_in() {
	local n=$(($1 * 5))
	while [ "$(unzeroed)" -ne 0 ]; do
		n=$((n - 1))
		[ $n -gt 0 ] || return 1
		sleep 0.2
	done
}

# table_bytes: how many bytes of inode tables, beyond the inodes in use, are not zero.
table_bytes() {
	dumpe2fs $dev 2>/dev/null | awk -v size="$1" -v ino="$2" '
		/Inodes per group:/ { per = $4 }
		/^Group/ { unused = 0 }
		/Inode table at/ { sub(/.* at /, ""); split($0, r, /[- ]/); first = r[1]; last = r[2] }
		/free inodes/ {
			unused = per
			used = 0
			if (match($0, /[0-9]+ unused inodes/)) { split(substr($0, RSTART), u, " "); used = per - u[1] }
			else if ($0 !~ /unused/) used = per
			begin = first + int((used * ino + size - 1) / size)
			if (begin <= last) print begin, last - begin + 1
		}' | while read -r begin count; do
		dd if=$dev bs="$1" skip="$begin" count="$count" status=none | tr -d '\0' | head -c 100 | wc -c
	done | awk '{n += $1} END {print n + 0}'
}

# lazy NAME OPTIONS BLOCK-SIZE MKFS...: tables are zeroed in the background of a mount with these options.
lazy() {
	local name="lazy, $1" options=$2 size=$3
	shift 3
	old_device 32
	mke2fs -q -F -b "$size" -I 256 -E lazy_itable_init=1,nodiscard "$@" $dev 32M >"$WORK/mke2fs" 2>&1 || {
		not_ok "$name, mkfs" "$(tail -n 1 "$WORK/mke2fs")"
		return
	}
	if [ "$(table_bytes "$size" 256)" -eq 0 ] || [ "$(unzeroed)" -eq 0 ]; then
		not_ok "$name, before" "nothing is left to be zeroed"
	fi
	attach "$name, mount" "$options" || return
	# Inodes come and go meanwhile, in all groups.
	for n in $(seq 25); do
		mkdir "$MNT/d$n" && touch "$MNT/d$n/a" "$MNT/d$n/b"
	done 2>"$WORK/err"
	equal "$name, files" "$(cat "$WORK/err")" ""
	check "$name, zeroed" zeroed_in 30
	sync -f "$MNT"
	umount "$MNT"
	equal "$name, all" "$(unzeroed)" 0
	equal "$name, zeros" "$(table_bytes "$size" 256)" 0
	clean "$name, clean"
}

lazy "1k" "init_itable=0" 1024 -t ext4 -g 1024 -N 12000
lazy "4k" "" 4096 -t ext4 -g 2048 -N 12000
lazy "uninit_bg" "init_itable=1" 1024 -t ext4 -O uninit_bg,^metadata_csum -g 2048
lazy "no journal" "init_itable=0" 1024 -t ext4 -O ^has_journal -g 2048

old_device 32
mke2fs -q -F -t ext4 -b 1024 -g 1024 -E lazy_itable_init=1,nodiscard $dev 32M >/dev/null 2>&1
before=$(unzeroed)
attach "lazy, off, mount" "noinit_itable"
sleep 6.5
equal "lazy, off" "$(unzeroed)" "$before"
check "lazy, on by remount" mount -o remount,init_itable=0 "$MNT"
check "lazy, on" zeroed_in 20
umount "$MNT"
clean "lazy, on, clean"

# A remount to read-only ends it, and one for writing lets it go on.
mke2fs -q -F -t ext4 -b 1024 -g 1024 -E lazy_itable_init=1,nodiscard $dev 32M >/dev/null 2>&1
attach "lazy, ro, mount" "init_itable=10"
mount -o remount,ro "$MNT"
before=$(unzeroed)
sleep 6
equal "lazy, ro" "$(unzeroed)" "$before"
check "lazy, ro, clean" e2fsck -fn $dev
mount -o remount,rw "$MNT"
check "lazy, rw again" zeroed_in 20
umount "$MNT"
clean "lazy, rw again, clean"

finish
