#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 2
# slice: 1
# timeout: 600
#
# The plug is pulled while names and inodes change (tests/tools/metaload.c): dm-log-writes records what is
# written, and the device is brought to what it may have been at some moment: after a flush or a FUA write, all
# that was written before, and about half of what was written after. Each state has to mount and be clean, and
# its tree has to be the one that was there after some operation: an operation not before the last that had been
# made durable, and all of it, and nothing of the next.
#
#     SEED=N, MATRIX=REGEX    as in metaload.sh
#     LONG=1                  every point; otherwise as many as POINTS says (default 16 a configuration)

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../lib/plug.sh"

load_drivers
load_ram_disks
for module in dm-log-writes dm-snapshot; do modprobe $module || exit 1; done
operations=500
points=${POINTS:-16}
[ -z "${LONG:-}" ] || points=1000000
size=64	# MiB

# With journal_async_commit nothing but a checksum of the whole transaction tells whether it is there. jbd2 has that
# only without metadata_csum: its later checksums are those of single blocks, and the replay refuses the journal if one
# of the last transaction is not there. (So does C ext4, which warns as little as the manual page does; rext4 says so.)
# NAME OPTIONS MKFS-ARGUMENTS...     (- for no options)
configurations() {
	cat <<'LIST'
4k           -                           -t ext4 -b 4096
1k           commit=1                    -t ext4 -b 1024 -J size=4
orphan-list  -                           -t ext4 -b 4096 -O ^orphan_file -I 512
async        data=writeback,journal_async_commit -t ext4 -b 4096 -O ^metadata_csum
ext3         -                           -t ext3 -b 1024
ea-inline    -                           -t ext4 -b 4096 -O ea_inode,inline_data
LIST
}

mkdir "$WORK/reference"

# state NAME DRIVER: what /dev/mapper/plug holds, judged.
state() {
	local name=$1 driver=$2
	if ! mount -t "$driver" /dev/mapper/plug "$MNT" 2>"$WORK/err"; then
		not_ok "$name" "$driver does not mount it: $(cat "$WORK/err")"
		log_since | tail -n 4 | sed 's/^/#   /'
		return 1
	fi
	as_expected "$name" "$MNT" "$least" $operations || { umount "$MNT"; return 1; }
	# What was left open is gone, and the file system can be used.
	if ! mkdir "$MNT/afterwards" || ! rmdir "$MNT/afterwards"; then
		not_ok "$name" "cannot be written to"
	fi
	umount "$MNT"
	if ! e2fsck -fn /dev/mapper/plug >"$WORK/fsck" 2>&1; then
		not_ok "$name" "e2fsck finds something"
		grep -v '^Pass' "$WORK/fsck" | head -n 8 | sed 's/^/#   /'
		return 1
	fi
}

one() { # NAME OPTIONS MKFS...
	local name=$1 options=$2 all n=0 done=0 index least driver bad=0 stride
	shift 2
	[ "$options" != - ] || options=defaults
	make_fs /dev/ram0 ${size}M "$@" || { not_ok "$name" "mkfs: $(tail -n 1 "$WORK/mke2fs")"; return; }
	# The device that the log is replayed to begins as this one does; so does the one to compare with.
	for n in 1 3; do
		blkdiscard -f /dev/ram$n 2>/dev/null
		dd if=/dev/ram0 of=/dev/ram$n bs=1M count=$size conv=sparse status=none
	done
	blkdiscard -f /dev/ram2 2>/dev/null
	dmsetup create recorded --table "0 $((size * 2048)) log-writes /dev/ram0 /dev/ram2" && dmsetup mknodes
	mount -t "$FSTYPE" -o "$options" /dev/mapper/recorded "$MNT" || {
		not_ok "$name" "does not mount"
		dmsetup remove recorded
		return
	}
	metaload --crash --seed $((SEED * 1000 + number)) --ops $operations --names 100 --sync 12 --log "$WORK/log" \
		--durable dm:recorded "$MNT" >"$WORK/said" || not_ok "$name" "the workload does not come to its end"
	umount "$MNT"
	dmsetup remove --retry recorded
	replay-log points /dev/ram2 >"$WORK/points"
	all=$(wc -l <"$WORK/points")
	[ "$all" -gt 20 ] || not_ok "$name" "only $all points: too few to prove something"
	stride=$(((all + points - 1) / points))

	mount -t ext4 -o "$options" /dev/ram3 "$WORK/reference"
	reference_start "$WORK/reference" --seed $((SEED * 1000 + number)) --names 100 --sync 12 \
		--log "$WORK/log.reference"
	done=0 n=0
	while read -r index least; do
		n=$((n + 1))
		[ $((n % stride)) -eq 0 ] || continue
		replay-log apply /dev/ram2 /dev/ram1 "$done" "$index" || break
		done=$index
		driver=$FSTYPE
		[ $((n / stride % 8)) -ne 7 ] || driver=ext4
		log_mark
		plug "$index" $((n / stride % 2))
		judged=$((judged + 1))
		if ! state "$name, entry $index" "$driver"; then
			bad=$((bad + 1))
			if [ -w /out ]; then
				# As it was before it was looked at.
				unplug && plug "$index" $((n / stride % 2))
				mkdir -p /out/differences
				dd if=/dev/mapper/plug bs=1M conv=sparse of="/out/differences/crash-$name-$index.img" status=none
			fi
		fi
		unplug
		[ $bad -lt 3 ] || break
	done <"$WORK/points"
	reference_to $operations
	reference_end
	check "$name: every operation goes as in C ext4" cmp "$WORK/log" "$WORK/log.reference"
	umount "$WORK/reference"
	equal "$name: states that are wrong, of $((n / stride)) judged, of $all" $bad 0
}

shard=${SHARD:-0/1}
number=0 judged=0
while read -r name options mkfs; do
	number=$((number + 1))
	[[ $name =~ ${MATRIX:-.} ]] || continue
	[ $((number % ${shard#*/})) -eq "${shard%/*}" ] || continue
	# shellcheck disable=SC2086
	one "$name" "$options" $mkfs </dev/null
done < <(configurations)
echo "# $judged states"
finish
