#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# shards: 6
# slice: 2
# timeout: 900
#
# Contents of files: written, cut, mapped and read back by either driver, on file systems of all kinds; where
# they are put; what is there after a crash; a full file system.
#
#     SEED=N, MATRIX=REGEX    another seed; only formats that match

. "$(dirname "$0")/lib.sh"

load_drivers
load_ram_disks
ours=/dev/ram0 theirs=/dev/ram1
shard=${SHARD:-0/1}
number=0
turn() {
	number=$((number + 1))
	[[ $1 =~ ${MATRIX:-.} ]] && [ $((number % ${shard#*/})) -eq "${shard%/*}" ]
}

on() { # DRIVER DEVICE [OPTIONS]
	mount -w -t "$1" -o "${3:-defaults}" "$2" "$MNT" || not_ok "mount $1" "$(dmesg | tail -n 1)"
}
clean() { # NAME DEVICE
	local out
	if out=$(e2fsck -fn "$2" 2>&1); then
		ok "$1, e2fsck"
	else
		not_ok "$1, e2fsck" "complains"
		sed 's/^/#   /' <<<"$out" | head -n 12
	fi
}
sums() { (cd "$MNT" && find . -type f -exec md5sum {} + | sort -k 2 && find . -type f -printf '%s %p\n' | sort -k 2); }

# changes SEED N: commands for xfs_io, the same for both drivers.
changes() {
	awk -v seed="$1" -v n="$2" 'BEGIN {
		srand(seed)
		for (i = 0; i < n; i++) {
			file = "f" int(rand() * 5)
			offset = int(rand() * 400000)
			len = 1 + int(rand() * (rand() < 0.3 ? 100000 : 6000))
			fill = 1 + int(rand() * 254)
			what = rand()
			aligned = int(offset / 65536) * 65536
			if (what < 0.30) command = sprintf("pwrite -S %d %d %d", fill, offset, len)
			else if (what < 0.34) command = sprintf("fpunch %d %d", offset, len)
			else if (what < 0.37) command = sprintf("fzero %d %d", offset, len)
			else if (what < 0.40) command = sprintf("fzero -k %d %d", offset, len)
			else if (what < 0.43) command = sprintf("falloc %d %d", offset, len)
			else if (what < 0.46) command = sprintf("falloc -k %d %d", offset, len)
			else if (what < 0.49) command = sprintf("fcollapse %d 65536", aligned)
			else if (what < 0.52) command = sprintf("finsert %d 131072", aligned)
			else if (what < 0.55) command = sprintf("direct -S %d -b 1024 %d %d", fill, int(offset / 1024) * 1024, int(len / 1024 + 1) * 1024)
			else if (what < 0.60) command = sprintf("pwrite -S %d -b 1000 %d %d", fill, offset, len)
			else if (what < 0.65) command = sprintf("truncate %d", offset)
			else if (what < 0.75) command = sprintf("mmap -rw %d %d\" -c \"mwrite -S %d %d %d\" -c \"munmap", 0, 400000, fill, int(rand() * 3000), int(rand() * 3000) + 1)
			else if (what < 0.85) command = "fsync"
			else if (what < 0.90) command = sprintf("direct -S %d %d %d", fill, aligned, 65536)
			else if (what < 0.95) command = "sync_range -w 0 200000"
			else command = sprintf("pwrite -S %d %d 17", fill, offset + 3000000)
			printf "%s\t%s\n", file, command
		}
	}'
}
# What is mapped behind the end of a file cannot be written to: that end is moved first. Some files cannot have what
# fallocate is asked for; what was said is in $WORK/said.
play() {
	local flags
	: >"$WORK/said"
	# Quotes in a command are for the shell.
	while IFS=$'\t' read -r file command; do
		flags=-f
		[[ $command != mmap* ]] || truncate -s ">8192" "$MNT/$file"
		[[ $command != direct* ]] || { flags='-f -d'; command=pwrite${command#direct}; }
		eval "xfs_io $flags -c \"$command\" \"$MNT/$file\"" >/dev/null 2>"$WORK/err" </dev/null ||
			[[ $command = f[acpiz]* ]] || { not_ok "$file: $command" "$(head -n 1 "$WORK/err")"; return 1; }
		[[ $command != f[acpiz]* ]] || echo "$file: $command: $(cat "$WORK/err")" >>"$WORK/said"
	done <"$WORK/changes"
}

either() { # NAME MKFS...
	local name=$1 device
	shift
	changes $((SEED * 100 + number)) 120 >"$WORK/changes"
	for device in $ours $theirs; do make_fs "$device" 96M "$@"; done
	on "$FSTYPE" $ours
	play
	mv "$WORK/said" "$WORK/said.ours"
	sums >"$WORK/written"
	echo 3 >/proc/sys/vm/drop_caches
	check "$name, as it was written" diff "$WORK/written" <(sums)
	umount "$MNT"
	clean "$name, written" $ours
	on ext4 $theirs
	play
	check "$name, as C ext4 does" diff <(sums) "$WORK/written"
	check "$name, says what C ext4 says" diff "$WORK/said" "$WORK/said.ours"
	umount "$MNT"
	on ext4 $ours ro
	check "$name, read by C ext4" diff "$WORK/written" <(sums)
	umount "$MNT"
	on "$FSTYPE" $theirs
	check "$name, read of C ext4's" diff "$WORK/written" <(sums)
	changes $((SEED * 100 + number + 50)) 40 >"$WORK/changes"
	play
	sums >"$WORK/written"
	umount "$MNT"
	clean "$name, changes of C ext4's" $theirs
	on ext4 $theirs
	check "$name, changes read by C ext4" diff "$WORK/written" <(sums)
	rm "$MNT"/f*
	umount "$MNT"
	on "$FSTYPE" $ours
	local free
	rm "$MNT"/f*
	sync
	free=$(stat -f -c %f "$MNT")
	umount "$MNT"
	clean "$name, removed" $ours
	equal "$name, all space is free again" "$free" "$(free_blocks $ours)"
}
free_blocks() { dumpe2fs -h "$1" 2>/dev/null | awk '/^Free blocks:/ {print $3}'; }

while read -r name mkfs; do
	# shellcheck disable=SC2086
	turn "$name" && either "$name" $mkfs </dev/null
done <<'LIST'
4k -t ext4 -b 4096
1k -t ext4 -b 1024
64k -t ext4 -b 65536
ext3 -t ext3 -b 1024
ext2 -t ext2 -b 4096
nojournal -t ext4 -b 2048 -O ^has_journal
bigalloc -t ext4 -b 4096 -O bigalloc -C 65536
bigalloc-1k -t ext4 -b 1024 -O bigalloc -C 4096
plain -t ext4 -b 4096 -O ^extent,^metadata_csum,^64bit,^flex_bg
LIST

# --- where it is put ---

extents() { filefrag "$1" | sed 's/.*: \([0-9]*\) extent.*/\1/'; }
# One file in order; eight at a time; holes filled at random.
workloads() {
	dd if=/dev/zero of="$MNT/order" bs=64k count=1024 status=none
	for n in 1 2 3 4 5 6 7 8; do
		dd if=/dev/zero of="$MNT/at-once$n" bs=64k count=64 status=none &
	done
	wait
	sync
	xfs_io -f -c "truncate 16m" "$MNT/holes"
	awk -v seed="$SEED" 'BEGIN {srand(seed); for (i = 0; i < 400; i++) print "pwrite " int(rand() * 4096) * 4096 " 4096"}' |
		xfs_io "$MNT/holes" >/dev/null
	sync
	extents "$MNT/order"
	for n in 1 2 3 4 5 6 7 8; do extents "$MNT/at-once$n"; done | sort -n | tail -n 1
	extents "$MNT/holes"
}
if turn extents; then
	make_fs $theirs 400M -t ext4 -b 4096
	on ext4 $theirs
	mapfile -t c < <(workloads)
	umount "$MNT"
	make_fs $ours 400M -t ext4 -b 4096
	on "$FSTYPE" $ours
	mapfile -t r < <(workloads)
	umount "$MNT"
	n=0
	for what in "in order" "eight at once" "holes"; do
		echo "# extents, $what: ${r[n]}, C ext4 ${c[n]}"
		check "extents, $what" test "${r[n]}" -le "${c[n]}"
		n=$((n + 1))
	done
	clean "extents" $ours
fi

# --- after a crash ---

# stream FILE FROM LEN: bytes that say where in which file they belong.
stream() { seq -f "$1 %010.0f" 0 100000 | tr '\n' ' ' | tail -c +$(($2 + 1)) | head -c "$3"; }
crash() { # NAME SHUTDOWN-FLAG MKFS...
	local name=$1 flag=$2 n size least
	shift 2
	make_fs $ours 64M "$@"
	on "$FSTYPE" $ours
	for n in 1 2 3 4; do
		# Appended in pieces of odd sizes; fsync after some.
		size=0
		while [ $size -lt $((n * 40000)) ]; do
			stream "f$n" $size 3333 >>"$MNT/f$n"
			size=$((size + 3333))
			if [ $((size / 3333 % 7)) -eq 0 ]; then
				xfs_io -c fsync "$MNT/f$n"
				echo $size >"$WORK/least.$n"
			fi
		done
	done
	# Replaced: the old contents or the new, all of them.
	stream old 0 50000 >"$MNT/replaced"
	sync
	stream new 0 60000 >"$MNT/next"
	mv "$MNT/next" "$MNT/replaced"
	stream late 0 70000 >"$MNT/lost"
	xfs_io -x -c "shutdown $flag" "$MNT"
	umount "$MNT"
	on "$FSTYPE" $ours
	for n in 1 2 3 4; do
		size=$(stat -c %s "$MNT/f$n" 2>/dev/null || echo 0)
		least=$(cat "$WORK/least.$n")
		check "$name, f$n has what fsync wrote" test "$size" -ge "$least"
		check "$name, f$n has nothing else" cmp "$MNT/f$n" <(stream "f$n" 0 "$size")
	done
	size=$(stat -c %s "$MNT/replaced")
	case $size in
	50000) check "$name, replaced, old" cmp "$MNT/replaced" <(stream old 0 50000) ;;
	60000) check "$name, replaced, new" cmp "$MNT/replaced" <(stream new 0 60000) ;;
	*) not_ok "$name, replaced" "has $size bytes" ;;
	esac
	if [ -e "$MNT/lost" ]; then
		size=$(stat -c %s "$MNT/lost")
		check "$name, what was not written" cmp "$MNT/lost" <(stream late 0 "$size")
	fi
	umount "$MNT"
	clean "$name" $ours
}
turn crash && crash "crash, log lost" "" -t ext4 -b 4096
turn crash && crash "crash, log flushed" -f -t ext4 -b 1024
turn crash && crash "crash, ext3" -f -t ext3 -b 1024

# --- no space ---

full() { # NAME MKFS...
	local name=$1 said free
	shift
	make_fs $ours 48M "$@"
	on "$FSTYPE" $ours
	free=$(stat -f -c %f "$MNT")
	said=$(dd if=/dev/zero of="$MNT/big" bs=20000 count=10000 2>&1 | grep -c 'No space left')
	equal "$name, is full" "$said" 1
	# What has been accepted has its place.
	check "$name, all of it can be written" xfs_io -c fsync "$MNT/big"
	echo 3 >/proc/sys/vm/drop_caches
	check "$name, and is there" cmp -n "$(stat -c %s "$MNT/big")" "$MNT/big" /dev/zero
	dd if=/dev/zero of="$MNT/more" bs=4k count=1000 2>/dev/null
	check "$name, and so is the rest" sync -f "$MNT"
	rm "$MNT/big" "$MNT/more"
	check "$name, room at once" dd if=/dev/zero of="$MNT/again" bs=1M count=20 status=none
	rm "$MNT/again"
	sync -f "$MNT"
	equal "$name, free again" "$(stat -f -c %f "$MNT")" "$free"
	umount "$MNT"
	clean "$name" $ours
}
turn full && full "full" -t ext4 -b 4096 -m 0
turn full && full "full, 1k" -t ext4 -b 1024 -m 1
turn full && full "full, bigalloc" -t ext4 -b 1024 -O bigalloc -C 16384
turn full && full "full, ext2" -t ext2 -b 1024

finish
