#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# timeout: 900
#
# Space: what is taken and freed, counted and kept back, on file systems of all kinds that are written; what
# becomes of damaged bitmaps.

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
dev=/dev/ram0
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
kunit=/sys/kernel/debug/kunit

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

# --- the allocator, driven by its KUnit suites ---

# suite NAME OPTIONS MKFS...: makes a file system that may be used, and runs the suites on it.
suite() {
	local name=$1 options=$2 of wrong ran
	shift 2
	make_fs $dev 48M -L "rext4 KUnit" "$@" || {
		not_ok "suite, $name, mkfs" "failed"
		return
	}
	attach "suite, $name, mount" "$options" || return
	for of in rext4_space rext4_places; do
		log_mark
		echo 1 >$kunit/$of/run
		wrong=$(grep -cE '^ *not ok ' $kunit/$of/results)
		ran=$(log_since | grep -cE 'rext4: [a-z]+ has run here')
		if [ "$wrong" -eq 0 ] && [ "$ran" -eq "$(grep -cE '^ +ok ' $kunit/$of/results)" ]; then
			ok "$of, $name"
		else
			not_ok "$of, $name" "$ran cases have run, $wrong lines say not ok"
			log_since | tail -n 15 | sed 's/^/#   /'
		fi
	done
	umount "$MNT"
	clean "suite, $name, clean"
}

if [ -d $kunit/rext4_space ]; then
	suite "1k" "" -b 1024 -t ext4
	suite "1k, many groups" "" -b 1024 -g 1024 -t ext4
	suite "1k, no flex_bg" "" -b 1024 -g 1024 -t ext4 -O ^flex_bg
	suite "4k, meta_bg" "" -b 4096 -g 512 -t ext4 -O meta_bg,^resize_inode
	suite "bigalloc" "" -b 1024 -C 16384 -t ext4 -O bigalloc
	suite "uninit_bg" "" -b 1024 -g 2048 -t ext4 -O uninit_bg,^metadata_csum
	suite "no checksums, ext3" "" -b 1024 -t ext3
	suite "discard" "discard" -b 1024 -g 2048 -t ext4
	suite "no journal, discard" "discard" -b 1024 -t ext4 -O ^has_journal
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

# --- discarding ---

# trims TYPE DEVICE: what FITRIM says to a series of requests, on a file system that TYPE has mounted.
trims() {
	local type=$1 dev=$2 args
	mount -t "$type" -o "$3" "$dev" "$MNT" >/dev/null || return 1
	while read -r args; do
		# shellcheck disable=SC2086
		echo "fstrim $args: $(fstrim -v $args "$MNT" 2>&1 | sed -E 's/.*\(([0-9]+ bytes)\).*/\1/; s/.*: //') $?"
	done <<-'END'
		-m 1M
		-m 1M
		-m 64K
		-o 3000K -l 5M

		-m 64K
		-o 1 -l 1
		-o 5M -l 1K
		-o 7M -l 4K
		-o 20M -l 100G
		-o 100G
		-m 9M
		-m 1G
		-o 47M -l 3M
	END
	umount "$MNT"
}

# trim NAME OPTIONS MKFS...: FITRIM takes what it takes in C ext4, and nothing that is needed.
trim() {
	local name="FITRIM, $1" options=$2
	shift 2
	make_fs $dev 48M "$@" || {
		not_ok "$name, mkfs" "failed"
		return
	}
	mount -t ext4 $dev "$MNT"
	head -c 5M /dev/urandom >"$MNT/f"
	for n in $(seq 60); do head -c $((n * 997)) /dev/urandom >"$MNT/g$n"; done
	rm "$MNT"/g*[02468]
	(cd "$MNT" && find . -type f -exec sha256sum {} + | sort) >"$WORK/sums"
	umount "$MNT"
	trims ext4 $dev "$options" >"$WORK/trims.c"
	trims "$FSTYPE" $dev "$options" >"$WORK/trims.r"
	if diff "$WORK/trims.c" "$WORK/trims.r" >"$WORK/diff" && grep -q '[0-9]\{5,\} bytes' "$WORK/trims.c"; then
		ok "$name"
	else
		not_ok "$name" "C ext4 answers otherwise"
		sed 's/^/#   /' "$WORK/diff"
	fi
	clean "$name, clean"
	mount -r -t ext4 $dev "$MNT"
	check "$name, contents" env -C "$MNT" sha256sum -c --quiet --strict "$WORK/sums"
	umount "$MNT"
}

trim "1k" "rw" -b 1024 -t ext4
trim "4k, read-only" "ro" -b 4096 -t ext4 -g 2048
trim "bigalloc" "rw" -b 1024 -C 8192 -t ext4 -O bigalloc

# Not for everybody, and not on devices that do nothing with it.
make_fs $dev 16M -t ext4
attach "FITRIM, mount" ""
equal "FITRIM, not for users" "$(setpriv --bounding-set=-sys_admin fstrim "$MNT" 2>&1 | sed 's/.*: //')" "Operation not permitted"
umount "$MNT"

# discarded BLOCK-SIZE: how many bytes of the free blocks are not zero.
discarded() {
	dumpe2fs $dev 2>/dev/null | sed -n 's/^  Free blocks: *//p' | tr ',' '\n' | while read -r range; do
		[ -n "$range" ] || continue
		dd if=$dev bs="$1" skip="${range%-*}" count=$((${range#*-} - ${range%-*} + 1)) iflag=direct status=none |
			tr -d '\0' | head -c 1000 | wc -c
	done | awk '{n += $1} END {print n + 0}'
}

# What is freed is discarded once its transaction has been committed.
freeing() { # NAME OPTIONS MKFS...
	local name="discard, $1" options=$2
	shift 2
	make_fs $dev 24M -b 4096 "$@"
	attach "$name, mount" "discard,$options" || return
	mkdir "$MNT/d"
	for n in $(seq 300); do : >"$MNT/d/$(printf 'a-long-name-%060d' "$n")"; done
	for n in $(seq 30); do ln -s "$(printf '%0200d' "$n")" "$MNT/d/l$n"; done
	sync -f "$MNT"
	equal "$name, before" "$(discarded 4096)" 0
	rm -r "$MNT/d"
	sync -f "$MNT"
	sleep 1
	equal "$name" "$(discarded 4096)" 0
	umount "$MNT"
	clean "$name, clean"
}
freeing "journal" "" -t ext4
freeing "no journal" "" -t ext4 -O ^has_journal

if modprobe sd_mod && modprobe scsi_debug dev_size_mb=16 delay=0; then
	for _ in $(seq 50); do
		sdev=$(basename "$(ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*/block/* 2>/dev/null)")
		[ -b "/dev/$sdev" ] && [ -n "$sdev" ] && break
		sleep 0.2
	done
	sdev=/dev/$sdev
	mke2fs -q -F -t ext4 "$sdev"
	log_mark
	mount -t "$FSTYPE" -o discard "$sdev" "$MNT" >/dev/null 2>&1
	logged "discard, no support" 'device does not support discard'
	check "discard, off" bash -c '! grep "$MNT" /proc/mounts | grep -q discard'
	equal "FITRIM, no support" "$(fstrim "$MNT" 2>&1 | sed 's/.*: //')" "the discard operation is not supported"
	umount "$MNT"
	modprobe -r scsi_debug
else
	skip "discard, no support" "no scsi_debug"
fi

# --- what proc and sysfs show ---

# shown TYPE OPTIONS FILE...: files of /proc/fs/TYPE/ram0 on a mount of TYPE.
shown() {
	local type=$1 options=$2
	shift 2
	mount -t "$type" -o "$options" $dev "$MNT" >/dev/null || return 1
	(cd "/proc/fs/$type/ram0" && tail -n +1 "$@")
	umount "$MNT"
}

same() { # NAME OPTIONS FILE...
	local name=$1 options=$2
	shift 2
	shown ext4 "$options" "$@" >"$WORK/shown.c"
	shown "$FSTYPE" "$options" "$@" >"$WORK/shown.r"
	if [ -s "$WORK/shown.c" ] && diff "$WORK/shown.c" "$WORK/shown.r" >"$WORK/diff"; then
		ok "$name"
	else
		not_ok "$name" "C ext4 shows something else"
		head -n 20 "$WORK/diff" | sed 's/^/#   /'
	fi
}

# Free space in pieces.
pieces() {
	mount -t ext4 $dev "$MNT"
	for n in $(seq 150); do head -c $((n * 331)) /dev/zero >"$MNT/g$n"; done
	rm "$MNT"/g*[0369]
	umount "$MNT"
}
make_fs $dev 40M -t ext4 -b 1024
pieces
same "mb_groups" "rw" mb_groups mb_stats
same "mb_groups, read-only" "ro" mb_groups
make_fs $dev 100M -t ext4 -b 4096 -C 16384 -O bigalloc
same "mb_groups, bigalloc" "rw" mb_groups
make_fs $dev 3G -t ext4
pieces
same "mb_groups, many" "ro" mb_groups
equal "mb_groups, in pieces" "$(wc -l <"$WORK/shown.r")" $((24 + 1))

attach "mb_stats, mount" ""
shows=/proc/fs/$FSTYPE/ram0
echo 1 >"/sys/fs/$FSTYPE/ram0/mb_stats"
for n in $(seq 20); do mkdir "$MNT/s$n"; done
equal "mb_stats" "$(sed -n 's/.*reqs: //p' "$shows/mb_stats")" 20
equal "mb_stats, hits" "$(sed -n 's/.*\thits: //p' "$shows/mb_stats" | awk '{n += $1} END {print n}')" 20
check "mb_structs_summary" grep -q 'list_order_13_groups: [1-9]' "$shows/mb_structs_summary"
check "mb_stats, maps" grep -qE 'buddies_generated: [1-9][0-9]*/24' "$shows/mb_stats"
umount "$MNT"

# What sysfs has: the same files, modes and numbers, and the same answers to what is written to them.
attributes() { # TYPE
	local dir=/sys/fs/$1/ram0 file value now
	mount -t "$1" $dev "$MNT" >/dev/null
	# shellcheck disable=SC2046
	(cd "$dir" && stat -c '%n %a' $(cat "$WORK/names"))
	while read -r file; do
		[ "$file" != trigger_fs_error ] || continue
		now=$(<"$dir/$file")
		case $file in
		*_kbytes | journal_task) [[ $now =~ ^[0-9]+$ ]] && now=number ;;
		esac
		echo "$file $now"
		[ -w "$dir/$file" ] && [ "$(stat -c %a "$dir/$file")" = 644 ] || continue
		for value in 64 0x20 0 70000 -1 x 4294967296; do
			if { echo "$value" >"$dir/$file"; } 2>"$WORK/err"; then
				echo "$file $value: $(<"$dir/$file")"
			else
				now=$(<"$WORK/err")
				echo "$file $value: ${now##*: } $(<"$dir/$file")"
			fi
		done
	done <"$WORK/names"
	umount "$MNT"
}
make_fs $dev 64M -t ext4
mount -t "$FSTYPE" $dev "$MNT"
(cd "/sys/fs/$FSTYPE/ram0" && ls) >"$WORK/names"
umount "$MNT"
mount -t ext4 $dev "$MNT"
(cd /sys/fs/ext4/ram0 && ls) >"$WORK/names.c"
umount "$MNT"
equal "sysfs, only here" "$(comm -23 "$WORK/names" "$WORK/names.c")" ""
equal "sysfs, only there" "$(comm -13 "$WORK/names" "$WORK/names.c" | tr '\n' ' ')" \
	"extent_max_zeroout_kb max_writeback_mb_bump mb_group_prealloc mb_stream_req msg_count msg_ratelimit_burst msg_ratelimit_interval_ms warning_ratelimit_burst warning_ratelimit_interval_ms "
# C ext4 counts the interval in jiffies, whatever its name says, and shows the old number of seconds when
# reminders have been turned off.
attributes ext4 | sed 's/^\(err_ratelimit_interval_ms\) 1250$/\1 5000/; s/^\(err_report_sec 0:\) 32$/\1 0/' >"$WORK/attributes.c"
attributes "$FSTYPE" >"$WORK/attributes.r"
if diff "$WORK/attributes.c" "$WORK/attributes.r" >"$WORK/diff"; then
	ok "sysfs, same"
else
	not_ok "sysfs, same" "C ext4 differs"
	sed 's/^/#   /' "$WORK/diff"
fi

# The inode to begin with.
attach "inode_goal, mount" ""
echo 8200 >"/sys/fs/$FSTYPE/ram0/inode_goal"
mkdir "$MNT/goal"
: >"$MNT/goal/next"
equal "inode_goal" "$(stat -c %i "$MNT/goal" "$MNT/goal/next" | tr '\n' ' ')" "8200 8201 "
echo 0 >"/sys/fs/$FSTYPE/ram0/inode_goal"
: >"$MNT/first"
check "inode_goal, none" test "$(stat -c %i "$MNT/first")" -lt 20
umount "$MNT"
clean "inode_goal, clean"

# Reminders of errors.
attach "reminder, mount" "errors=continue"
echo hello >"/sys/fs/$FSTYPE/ram0/trigger_fs_error"
log_mark
echo 1 >"/sys/fs/$FSTYPE/ram0/err_report_sec"
sleep 2.5
logged "reminder" 'error count since last fsck: 1'
logged "reminder, first" 'initial error at time [0-9]+: trigger_fs_error:0'
umount "$MNT"

# --- when there is little left ---

# not_placed SECONDS: how many blocks have no place then, at the latest.
not_placed() {
	local n left
	for ((n = 0; n < $1 * 10; n++)); do
		left=$(cat "/sys/fs/$FSTYPE/ram0/delayed_allocation_blocks")
		[ "$left" -gt 0 ] || break
		sleep 0.1
	done
	echo "$left"
}
make_fs $dev 32M -t ext4 -b 4096
attach "promises, mount" ""
dd if=/dev/zero of="$MNT/a" bs=1M count=2 status=none
equal "promises, with much space" "$(not_placed 2)" 512
free=$(stat -f -c %f "$MNT")
dd if=/dev/zero of="$MNT/b" bs=4k count=$((free * 3 / 4)) status=none
check "promises, with little space" test "$(not_placed 5)" -lt $((free / 2))
umount "$MNT"
clean "promises, clean"
attach "nodelalloc, mount" nodelalloc
rm "$MNT/b"
dd if=/dev/zero of="$MNT/c" bs=1M count=1 status=none
equal "nodelalloc" "$(not_placed 5)" 0
umount "$MNT"
clean "nodelalloc, clean"

# --- label and UUID ---

# names: label and UUID of every superblock on the device.
names() {
	local copy
	for copy in "" $(dumpe2fs $dev 2>/dev/null | sed -n 's/.*Backup superblock at \([0-9]*\),.*/\1/p'); do
		dumpe2fs -h ${copy:+-o superblock=$copy -o blocksize=1024} $dev 2>/dev/null |
			sed -n 's/^Filesystem volume name: *//p; s/^Filesystem UUID: *//p' | tr '\n' ' '
		echo
	done | sort | uniq -c | awk '{$1 = $1; print}'
}
naming() { # NAME OPTIONS MKFS...
	local name="naming, $1" options=$2 uuid=01020304-0506-0708-090a-0b0c0d0e0f10
	shift 2
	make_fs $dev 40M -t ext4 -b 1024 -g 1024 "$@"
	attach "$name, mount" "$options" || return
	check "$name, label" fsprobe label "$MNT" "sixteen bytes..."
	check "$name, uuid" fsprobe setuuid "$MNT"
	equal "$name, fsid" "$(stat -f -c %i "$MNT")" 808080818080808
	sync -f "$MNT"
	umount "$MNT"
	equal "$name, all copies" "$(names)" "$(($(dumpe2fs $dev 2>/dev/null | grep -c 'Backup superblock') + 1)) sixteen bytes... $uuid"
	clean "$name, clean"
}
naming "default" ""
naming "all groups" "" -O ^sparse_super,^resize_inode
naming "two" "" -O sparse_super2,^resize_inode
naming "no journal" "" -O ^has_journal
naming "by a copy" "sb=8193" -g 8192

# A copy that is damaged stays as it is; the others are changed.
make_fs $dev 40M -t ext4 -b 1024 -g 1024
dd if=/dev/zero of=$dev bs=1024 seek=3073 count=1 conv=notrunc status=none
attach "naming, damage, mount" ""
check "naming, damage, label" fsprobe label "$MNT" changed
logged "naming, damage" 'backup superblock 3073: '
sync -f "$MNT"
umount "$MNT"
equal "naming, damage, others" "$(names | grep -c changed)" 1

# Where checksums begin with the UUID it cannot be changed.
make_fs $dev 40M -t ext4 -O ^metadata_csum_seed
attach "naming, seed, mount" ""
check "naming, seed" bash -c '! fsprobe setuuid "$MNT" 2>"$WORK/err" && grep -q "not supported" "$WORK/err"'
umount "$MNT"

finish
