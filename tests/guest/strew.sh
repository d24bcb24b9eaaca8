#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 6
# slice: 2
# timeout: 900
#
# Contents that say where they belong (tests/tools/strew.c), on devices that were full of something else: written by
# several at once in all ways and read meanwhile; after a shutdown; and with the plug pulled, at flushes that
# dm-log-writes has recorded. Nothing may be anywhere but where it belongs, nothing old may show, and what fsync
# has written is there.
#
#     SEED=N, MATRIX=REGEX    another seed; only formats that match
#     LONG=1                  more of it, and every flush

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../lib/plug.sh"

load_drivers
load_ram_disks
for module in dm-log-writes dm-snapshot; do modprobe $module || exit 1; done
size=40	# MiB
operations=700 points=10
[ -z "${LONG:-}" ] || operations=5000 points=1000000

# old_disk DEVICE MKFS...: a file system on a device that is full of what must not show.
old_disk() {
	local device=$1
	shift
	head -c ${size}M /dev/zero | tr '\0' '\245' | dd of="$device" bs=1M iflag=fullblock status=none
	mke2fs -q -F -E nodiscard "$@" "$device" ${size}M >"$WORK/mke2fs" 2>&1 || not_ok "mkfs" "$(tail -n 1 "$WORK/mke2fs")"
}
judged() { # NAME COMMAND...
	local name=$1
	shift
	if "$@" >"$WORK/judged" 2>&1; then ok "$name"; else
		not_ok "$name" "$(head -n 1 "$WORK/judged")"
		head -n 8 "$WORK/judged" | sed 's/^/#   /'
		return 1
	fi
}

at_once() { # NAME OPTIONS MKFS...
	local name=$1 options=$2
	shift 2
	old_disk /dev/ram0 "$@"
	mount -t "$FSTYPE" -o "$options" /dev/ram0 "$MNT" || { not_ok "$name" "does not mount"; return; }
	# shellcheck disable=SC2086
	judged "$name, all at once" strew run "$MNT" $SEED $operations $flags
	echo 3 >/proc/sys/vm/drop_caches
	judged "$name, from the device" strew check "$MNT"
	umount "$MNT"
	check "$name, e2fsck" e2fsck -fn /dev/ram0
	mount -t ext4 -o ro /dev/ram0 "$MNT" && judged "$name, for C ext4" strew check "$MNT"
	umount "$MNT"
}

cut_off() { # NAME OPTIONS MKFS...
	local name=$1 options=$2 flag pid
	shift 2
	for flag in "" -f; do
		old_disk /dev/ram0 "$@"
		mount -t "$FSTYPE" -o "$options" /dev/ram0 "$MNT" || { not_ok "$name" "does not mount"; return; }
		# shellcheck disable=SC2086
		strew run "$MNT" $SEED 1000000 $flags >"$WORK/run" 2>&1 &
		pid=$!
		sleep 4
		xfs_io -x -c "shutdown $flag" "$MNT"
		kill -KILL $pid
		wait $pid 2>/dev/null
		check "$name, until the shutdown" test "$(grep -c ': byte ' "$WORK/run")" -eq 0
		umount "$MNT"
		mount -t "$FSTYPE" /dev/ram0 "$MNT" || { not_ok "$name" "does not mount any more"; return; }
		judged "$name, after the shutdown${flag:+, log flushed}" strew check "$MNT"
		umount "$MNT"
		check "$name, e2fsck" e2fsck -fn /dev/ram0
	done
}

plug_pulled() { # NAME OPTIONS MKFS...
	local name=$1 options=$2 all n=0 done=0 index least stride bad=0 judged=0
	shift 2
	old_disk /dev/ram0 "$@"
	dd if=/dev/ram0 of=/dev/ram1 bs=1M count=$size status=none
	blkdiscard -f /dev/ram2 2>/dev/null
	dmsetup create recorded --table "0 $((size * 2048)) log-writes /dev/ram0 /dev/ram2" && dmsetup mknodes
	mount -t "$FSTYPE" -o "$options" /dev/mapper/recorded "$MNT" || { not_ok "$name" "does not mount"; dmsetup remove recorded; return; }
	# shellcheck disable=SC2086
	judged "$name, recorded" strew run "$MNT" $SEED $operations $flags --durable dm:recorded --list "$WORK/list"
	umount "$MNT"
	dmsetup remove --retry recorded
	replay-log points /dev/ram2 >"$WORK/points"
	all=$(wc -l <"$WORK/points")
	[ "$all" -gt 20 ] || not_ok "$name" "only $all points: too few to prove something"
	stride=$(((all + points - 1) / points))
	while read -r index least; do
		n=$((n + 1))
		[ $((n % stride)) -eq 0 ] || continue
		replay-log apply /dev/ram2 /dev/ram1 "$done" "$index" || break
		done=$index
		plug "$index" $((n / stride % 2))
		judged=$((judged + 1))
		if ! mount -t "$FSTYPE" /dev/mapper/plug "$MNT"; then
			not_ok "$name, entry $index" "does not mount"
			bad=$((bad + 1))
		else
			judged "$name, entry $index of $all flushes, durable $least" strew check "$MNT" --list "$WORK/list" --least "$least" ||
				bad=$((bad + 1))
			umount "$MNT"
			if ! e2fsck -fn /dev/mapper/plug >"$WORK/fsck" 2>&1; then
				not_ok "$name, entry $index, e2fsck" "$(grep -v '^Pass\|^e2fsck' "$WORK/fsck" | head -n 1)"
				bad=$((bad + 1))
			fi
		fi
		unplug
		[ $bad -lt 3 ] || break
	done <"$WORK/points"
	equal "$name: states that are wrong, of $judged judged" $bad 0
}

shard=${SHARD:-0/1}
number=0
for what in at_once cut_off plug_pulled; do
	while read -r name options mkfs; do
		number=$((number + 1))
		[[ $name =~ ${MATRIX:-.} ]] && [ $((number % ${shard#*/})) -eq "${shard%/*}" ] || continue
		flags=--extents
		[[ $name != ext3 ]] || flags=
		# shellcheck disable=SC2086
		$what "$name, $what" $options $mkfs </dev/null
	done <<'LIST'
4k defaults -t ext4 -b 4096
1k defaults -t ext4 -b 1024
ext3 defaults -t ext3 -b 1024
bigalloc defaults -t ext4 -b 4096 -O bigalloc -C 16384
LIST
done
finish
